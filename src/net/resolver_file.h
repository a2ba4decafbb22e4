/* /etc/resolv.conf as resolv.conf(5) has it: name servers, search domains, timeout and attempts. What is not understood is left
 * out, as every resolver does. Pure, but for reading the file; any thread. */
#ifndef AMBAR_NET_RESOLVER_FILE_H
#define AMBAR_NET_RESOLVER_FILE_H

#include "base/address.h"

#define RESOLVER_SERVERS_MAXIMUM 3
#define RESOLVER_SEARCH_MAXIMUM 8
#define RESOLVER_DOMAIN_SIZE 256
#define RESOLVER_FILE_BYTES_MAXIMUM 65536

struct resolver_file {
    struct socket_address servers[RESOLVER_SERVERS_MAXIMUM];
    size_t server_count;                                        /* at least 1: 127.0.0.1 where the file names none */
    char search[RESOLVER_SEARCH_MAXIMUM][RESOLVER_DOMAIN_SIZE]; /* lower case, without final period */
    size_t search_count;
    unsigned timeout_s; /* 1 to 30, 5 unless told */
    unsigned attempts;  /* 1 to 5, 2 unless told */
};

void resolver_file_parse(struct bytes text, struct resolver_file *file);
/* A file that is not there is an empty one. */
struct result resolver_file_read(const char *path, struct resolver_file *file);

#endif
