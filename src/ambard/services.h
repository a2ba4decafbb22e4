/* What a gRPC call of ambard finds behind it: the server's context. */
#ifndef AMBAR_AMBARD_SERVICES_H
#define AMBAR_AMBARD_SERVICES_H

struct certificate_service;
struct discovery;

struct ambard_services {
    struct discovery *discovery;
    struct certificate_service *certificates;
};

#endif
