#include "ztunnel/control_listener.h"

#include "base/log.h"

struct result control_listener_open(
    struct http1_server *server, const struct socket_address *address, const char *component)
{
    struct socket_address bound;
    RESULT_TRY(http1_server_listen(server, address, &bound));
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    LOG_EVENT(LOG_INFO, "ztunnel::hyper_util", "listener established",
        LOG_DISPLAY("address", socket_address_format(&bound, text)), LOG_STRING("component", component));
    return result_ok();
}
