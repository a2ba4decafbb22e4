/* The first bytes of an application, sent behind its CONNECT before that is answered: a round trip less for every new connection.
 * Only towards a peer that keeps them until it has decided (hbone_session_early_bytes).
 *
 * A copy stays until the answer: a CONNECT that the peer refused unseen is made again, with the same bytes behind its answer.
 * At most one stream's early bytes are held by an unanswered connection. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_EARLY_DATA_H
#define AMBAR_ZTUNNEL_EARLY_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hbone_stream;

/* All zero: nothing was read. */
struct early_data {
    uint8_t *bytes;
    uint16_t length;
    bool has_end;   /* the application's FIN was passed on behind them */
    bool is_unsent; /* the stream they were sent on is gone */
};

/* Passes on what the application has to say now, as far as the peer allows. `seen_events` is what the loop has told about the
 * socket (edge-triggered): it loses what no longer holds. False: the application has reset its connection. */
bool early_data_send(struct early_data *early, struct hbone_stream *stream, int descriptor, uint32_t *seen_events);

/* The stream has ended without an answer. The application's FIN will be read again, its bytes will not. */
void early_data_take_back(struct early_data *early, uint32_t *seen_events);

/* The bytes that were taken back: on the stream of the next CONNECT, answered, or to a server itself. False: not all were taken. */
bool early_data_repeat(struct early_data *early, struct hbone_stream *stream);
bool early_data_repeat_plain(struct early_data *early, int descriptor);

void early_data_free(struct early_data *early);

#endif
