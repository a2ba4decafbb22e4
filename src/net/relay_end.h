/* How a relay between two connections ended, as its owner and its log line see it. */
#ifndef AMBAR_NET_RELAY_END_H
#define AMBAR_NET_RELAY_END_H

enum relay_end {
    RELAY_END_CLEAN, /* both directions ended with FIN (or END_STREAM) and everything accepted was delivered */
    RELAY_END_RESET, /* one end reset its connection, and so was the other */
    RELAY_END_CUT,   /* we ended it: policy, drain, limits */
    RELAY_END_LOST,  /* the tunnel under it, or the stream in the tunnel, broke */
};

#endif
