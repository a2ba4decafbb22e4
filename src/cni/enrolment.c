#include "cni/enrolment.h"

#include "base/hash_map.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "base/text.h"
#include "kube/yaml.h"

#include <stdio.h>

#define LABEL_LENGTH_MAXIMUM 63
#define NAME_LENGTH_MAXIMUM 253
#define UID_LENGTH_MAXIMUM 63

struct enrolment *enrolment_new(void)
{
    struct enrolment *enrolment = NEW(struct enrolment);
    enrolment->network.descriptor = -1;
    return enrolment;
}

void enrolment_free(struct enrolment *enrolment)
{
    if (enrolment == NULL) {
        return;
    }
    network_namespace_close(&enrolment->network);
    memory_free(enrolment->uid);
    memory_free(enrolment->namespace_);
    memory_free(enrolment->name);
    memory_free(enrolment->service_account);
    memory_free(enrolment->namespace_path);
    memory_free(enrolment);
}

static bool is_lower_or_digit(char character)
{
    return (character >= 'a' && character <= 'z') || (character >= '0' && character <= '9');
}

/* RFC 1123 as Kubernetes applies it: lower-case letters, digits and `-`, with letters or digits at both ends; in a subdomain several of
 * these joined by dots. */
static bool is_name(const char *text, size_t length_maximum, bool may_have_dots)
{
    size_t length = strlen(text);
    if (length == 0 || length > length_maximum || !is_lower_or_digit(text[0]) || !is_lower_or_digit(text[length - 1])) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        bool is_inner = text[i] == '-' || (text[i] == '.' && may_have_dots);
        bool is_beside_dot = text[i] == '.' && (!is_lower_or_digit(text[i - 1]) || !is_lower_or_digit(text[i + 1]));
        if ((!is_lower_or_digit(text[i]) && !is_inner) || is_beside_dot) {
            return false;
        }
    }
    return true;
}

static struct result check_name(const char *what, const char *text, size_t length_maximum, bool may_have_dots)
{
    if (text_is_empty(text)) {
        return result_fail(RESULT_INVALID, "%s: missing", what);
    }
    if (!is_name(text, length_maximum, may_have_dots)) {
        return result_fail(RESULT_INVALID,
            "%s \"%.64s\": not a name of lower-case letters, digits%s and \"-\", at most %zu long", what, text,
            may_have_dots ? ", \".\"" : "", length_maximum);
    }
    return result_ok();
}

/* A uid is a file's name, too. */
static struct result check_uid(const char *uid)
{
    size_t length = strlen(uid);
    bool is_valid = length > 0 && length <= UID_LENGTH_MAXIMUM && uid[0] != '.';
    for (size_t i = 0; i < length && is_valid; i++) {
        char lower = (char)(uid[i] | 0x20);
        is_valid = is_lower_or_digit(lower) || uid[i] == '-' || uid[i] == '_' || uid[i] == '.';
    }
    return is_valid ? result_ok()
                    : result_fail(RESULT_INVALID,
                          "uid \"%.64s\": not 1 to %d letters, digits, \"-\", \"_\" or \".\" (not first)", uid,
                          UID_LENGTH_MAXIMUM);
}

static struct result check_addresses(const struct enrolment *enrolment)
{
    char text[IP_TEXT_SIZE];
    if (enrolment->address_count == 0) {
        return result_fail(RESULT_INVALID, "address: missing, at least one is needed");
    }
    for (size_t i = 0; i < enrolment->address_count; i++) {
        const struct ip_address *address = &enrolment->addresses[i];
        if (ip_is_loopback(address) || ip_is_unspecified(address)) {
            return result_fail(
                RESULT_INVALID, "address %s: not an address that other pods can reach", ip_format(address, text));
        }
        for (size_t j = 0; j < i; j++) {
            if (ip_equal(&enrolment->addresses[j], address)) {
                return result_fail(RESULT_INVALID, "address %s: given twice", ip_format(address, text));
            }
        }
    }
    return result_ok();
}

struct result enrolment_check(const struct enrolment *enrolment)
{
    RESULT_TRY(check_name("namespace", enrolment->namespace_, LABEL_LENGTH_MAXIMUM, false));
    RESULT_TRY(check_name("name", enrolment->name, NAME_LENGTH_MAXIMUM, true));
    RESULT_TRY(check_name("service account", enrolment->service_account, NAME_LENGTH_MAXIMUM, true));
    if (enrolment->uid != NULL) {
        RESULT_TRY(check_uid(enrolment->uid));
    }
    return check_addresses(enrolment);
}

static bool has_address(const struct enrolment *enrolment, const struct ip_address *address)
{
    for (size_t i = 0; i < enrolment->address_count; i++) {
        if (ip_equal(&enrolment->addresses[i], address)) {
            return true;
        }
    }
    return false;
}

bool enrolment_is_same(const struct enrolment *left, const struct enrolment *right)
{
    if (!text_equal(left->namespace_, right->namespace_) || !text_equal(left->name, right->name) ||
        !text_equal(left->service_account, right->service_account) || left->address_count != right->address_count ||
        !network_namespace_equal(&left->network, &right->network)) {
        return false;
    }
    for (size_t i = 0; i < left->address_count; i++) {
        if (!has_address(right, &left->addresses[i])) {
            return false;
        }
    }
    return true;
}

const char *enrolment_key(const char *namespace_, const char *name, char out[static ENROLMENT_KEY_SIZE])
{
    (void)snprintf(out, ENROLMENT_KEY_SIZE, "%s/%s", namespace_ == NULL ? "" : namespace_, name == NULL ? "" : name);
    return out;
}

const char *enrolment_key_of(const struct enrolment *enrolment, char out[static ENROLMENT_KEY_SIZE])
{
    return enrolment_key(enrolment->namespace_, enrolment->name, out);
}

void enrolment_write_members(const struct enrolment *enrolment, struct json_writer *json)
{
    char text[IP_TEXT_SIZE];
    json_write_member_string(json, "namespace", enrolment->namespace_);
    json_write_member_string(json, "name", enrolment->name);
    json_write_member_string(json, "serviceAccount", enrolment->service_account);
    if (enrolment->uid != NULL) {
        json_write_member_string(json, "uid", enrolment->uid);
    }
    json_write_key(json, "addresses");
    json_write_array_begin(json);
    for (size_t i = 0; i < enrolment->address_count; i++) {
        json_write_string(json, ip_format(&enrolment->addresses[i], text));
    }
    json_write_array_end(json);
    json_write_member_string(json, "netns", enrolment->namespace_path);
    json_write_member_unsigned(json, "device", enrolment->network.device);
    json_write_member_unsigned(json, "inode", enrolment->network.inode);
}

/* A string member; absent and null stay NULL. */
static struct result parse_text(const struct yaml_node *object, const char *key, char **text)
{
    const struct yaml_node *value = yaml_get(object, key);
    if (value == NULL || value->kind == YAML_NULL) {
        return result_ok();
    }
    if (value->kind != YAML_STRING) {
        return result_fail(RESULT_INVALID, "%s: not a string", key);
    }
    *text = string_duplicate(value->text);
    return result_ok();
}

static struct result parse_addresses(const struct yaml_node *addresses, struct enrolment *enrolment)
{
    if (addresses == NULL) {
        return result_ok();
    }
    if (addresses->kind != YAML_SEQUENCE || addresses->children.count > ENROLMENT_ADDRESSES_MAXIMUM) {
        return result_fail(RESULT_INVALID, "addresses: not a list of at most %d", ENROLMENT_ADDRESSES_MAXIMUM);
    }
    for (size_t i = 0; i < addresses->children.count; i++) {
        const struct yaml_node *item = addresses->children.items[i].value;
        const char *text = item->kind == YAML_STRING ? item->text : "";
        if (!ip_parse(text, &enrolment->addresses[i])) {
            return result_fail(RESULT_INVALID, "address \"%.64s\": not an IP address", text);
        }
        enrolment->address_count++;
    }
    return result_ok();
}

static uint64_t parse_number(const struct yaml_node *object, const char *key)
{
    const struct yaml_node *value = yaml_get(object, key);
    bool is_natural = value != NULL && value->kind == YAML_INTEGER && !value->integer.is_negative;
    return is_natural ? value->integer.magnitude : 0;
}

struct result enrolment_from_json(const struct yaml_node *object, struct enrolment *enrolment)
{
    RESULT_TRY(parse_text(object, "namespace", &enrolment->namespace_));
    RESULT_TRY(parse_text(object, "name", &enrolment->name));
    RESULT_TRY(parse_text(object, "serviceAccount", &enrolment->service_account));
    RESULT_TRY(parse_text(object, "uid", &enrolment->uid));
    RESULT_TRY(parse_text(object, "netns", &enrolment->namespace_path));
    RESULT_TRY(parse_addresses(yaml_get(object, "addresses"), enrolment));
    enrolment->network.device = (dev_t)parse_number(object, "device");
    enrolment->network.inode = (ino_t)parse_number(object, "inode");
    return enrolment_check(enrolment);
}

void enrolment_table_open(struct enrolment_table *table)
{
    table->by_key = hash_map_new();
}

static void free_entry(void *value)
{
    enrolment_free(value);
}

void enrolment_table_close(struct enrolment_table *table)
{
    hash_map_free(table->by_key, free_entry);
    table->by_key = NULL;
}

size_t enrolment_table_count(const struct enrolment_table *table)
{
    return hash_map_count(table->by_key);
}

struct enrolment *enrolment_table_find(const struct enrolment_table *table, const char *key)
{
    return hash_map_get(table->by_key, bytes_of_string(key));
}

struct enrolment *enrolment_table_next(const struct enrolment_table *table, size_t *position)
{
    struct bytes key;
    void *value;
    return hash_map_next(table->by_key, position, &key, &value) ? value : NULL;
}

struct enrolment *enrolment_table_find_uid(const struct enrolment_table *table, const char *uid)
{
    size_t position = 0;
    struct enrolment *enrolment;
    while ((enrolment = enrolment_table_next(table, &position)) != NULL) {
        if (text_equal(enrolment->uid, uid)) {
            return enrolment;
        }
    }
    return NULL;
}

struct enrolment *enrolment_table_find_network(
    const struct enrolment_table *table, const struct network_namespace *network)
{
    size_t position = 0;
    struct enrolment *enrolment;
    while ((enrolment = enrolment_table_next(table, &position)) != NULL) {
        if (enrolment->network.descriptor >= 0 && network_namespace_equal(&enrolment->network, network)) {
            return enrolment;
        }
    }
    return NULL;
}

void enrolment_table_put(struct enrolment_table *table, struct enrolment *enrolment)
{
    char key[ENROLMENT_KEY_SIZE];
    enrolment_free(hash_map_put(table->by_key, bytes_of_string(enrolment_key_of(enrolment, key)), enrolment));
}

void enrolment_table_remove(struct enrolment_table *table, const char *key)
{
    enrolment_free(hash_map_remove(table->by_key, bytes_of_string(key)));
}
