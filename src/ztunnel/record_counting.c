#include "ztunnel/record_counting.h"

#include "tls/record_layer.h"
#include "ztunnel/metrics.h"
#include "ztunnel/worker.h"

#define CLIENT "client"
#define SERVER "server"

static void count_problem(const struct worker *worker, const char *role, enum record_problem problem)
{
    const char *const labels[] = { role, record_problem_name(problem) };
    metric_count_labelled(worker->metrics, METRIC_RECORD_PROBLEMS, labels, 1);
}

static void on_client_problem(void *context, enum record_problem problem)
{
    count_problem(context, CLIENT, problem);
}

static void on_server_problem(void *context, enum record_problem problem)
{
    count_problem(context, SERVER, problem);
}

static void on_client_key_update(void *context)
{
    worker_count_role(context, METRIC_KEY_UPDATES, CLIENT);
}

static void on_server_key_update(void *context)
{
    worker_count_role(context, METRIC_KEY_UPDATES, SERVER);
}

static const struct record_observer client_observer = { on_client_problem, on_client_key_update };
static const struct record_observer server_observer = { on_server_problem, on_server_key_update };

void record_counting_start(struct record_layer *layer, struct worker *worker, enum hbone_role role)
{
    record_observe(layer, role == HBONE_CLIENT ? &client_observer : &server_observer, worker);
}
