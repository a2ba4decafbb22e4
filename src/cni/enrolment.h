/* One pod's enrolment: who it is, where its namespace is, under which uid the proxy knows it; and the table of them all.
 * Owned by the agent's thread. */
#ifndef AMBAR_CNI_ENROLMENT_H
#define AMBAR_CNI_ENROLMENT_H

#include "base/address.h"
#include "base/result.h"
#include "net/network_namespace.h"

struct hash_map;
struct json_writer;
struct yaml_node;

#define ENROLMENT_ADDRESSES_MAXIMUM 16
#define ENROLMENTS_MAXIMUM 4096
#define ENROLMENT_KEY_SIZE 320 /* "namespace/name" and a NUL */

struct enrolment {
    char *uid; /* the ZDS uid; NULL in a request that leaves the choice to the agent */
    char *namespace_;
    char *name;
    char *service_account;
    char *namespace_path; /* of the network namespace, as the caller named it: for people, and to find it again */
    struct ip_address addresses[ENROLMENT_ADDRESSES_MAXIMUM];
    size_t address_count;
    /* Which namespace it is. After a restart the descriptor is -1 until it is found again. */
    struct network_namespace network;
    bool is_leaving; /* being removed: no proxy is told of it any more */
};

/* Empty, without a namespace. */
struct enrolment *enrolment_new(void);
/* Closes its namespace. NULL is allowed. */
void enrolment_free(struct enrolment *enrolment);

/* Names as Kubernetes has them, at least one address, no address twice, a uid of letters, digits, `-`, `_` and `.`. The failure names
 * the field and what would be valid. */
struct result enrolment_check(const struct enrolment *enrolment);

/* Same pod, account, addresses and network namespace: nothing that the proxy or the rules would notice differs. */
bool enrolment_is_same(const struct enrolment *left, const struct enrolment *right);

/* "namespace/name"; NULL (not read yet) is empty. Returns `out`. */
const char *enrolment_key(const char *namespace_, const char *name, char out[static ENROLMENT_KEY_SIZE]);
const char *enrolment_key_of(const struct enrolment *enrolment, char out[static ENROLMENT_KEY_SIZE]);

/* The members of a JSON object that stands open: what a state file and a request both hold. */
void enrolment_write_members(const struct enrolment *enrolment, struct json_writer *json);
/* Fills a new enrolment from such an object (JSON read by yaml_parse), and checks it. */
struct result enrolment_from_json(const struct yaml_node *object, struct enrolment *enrolment);

struct enrolment_table {
    struct hash_map *by_key;
};

void enrolment_table_open(struct enrolment_table *table);
/* Frees the enrolments too. */
void enrolment_table_close(struct enrolment_table *table);
size_t enrolment_table_count(const struct enrolment_table *table);
struct enrolment *enrolment_table_find(const struct enrolment_table *table, const char *key);
struct enrolment *enrolment_table_find_uid(const struct enrolment_table *table, const char *uid);
struct enrolment *enrolment_table_find_network(
    const struct enrolment_table *table, const struct network_namespace *network);
/* Takes the enrolment; one with the same key is freed. */
void enrolment_table_put(struct enrolment_table *table, struct enrolment *enrolment);
void enrolment_table_remove(struct enrolment_table *table, const char *key);
/* `position` starts at 0; NULL at the end. */
struct enrolment *enrolment_table_next(const struct enrolment_table *table, size_t *position);

#endif
