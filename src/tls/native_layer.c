#include "tls/native_layer.h"

#include "base/memory.h"
#include "tls/alert.h"

#define ALERT_LEVEL_FATAL 2
#define OWN_RECORD_MAXIMUM_BYTES 64 /* an alert or a key update, sealed */

/* A record of the layer's own, behind what waits already. */
static bool send_own(struct native_layer *layer, enum record_type type, struct bytes content)
{
    uint8_t record[OWN_RECORD_MAXIMUM_BYTES];
    uint8_t *plaintext = record + RECORD_HEADER_BYTES;
    memcpy(plaintext, content.data, content.length);
    if (!send_queue_has_room(&layer->queue, content.length + RECORD_OVERHEAD_BYTES)) {
        return false; /* before a number is used for it */
    }
    size_t length = record_protection_seal(layer->sealing, type, plaintext, content.length, record);
    return length > 0 && send_queue_add(&layer->queue, bytes_of(record, length));
}

bool native_layer_send_alert(struct native_layer *layer, uint8_t level, int alert)
{
    const uint8_t content[] = { level, (uint8_t)alert };
    return send_own(layer, RECORD_ALERT, bytes_of(content, sizeof content));
}

bool native_layer_send_key_update(struct native_layer *layer, bool request_peer)
{
    const uint8_t message[] = { HANDSHAKE_KEY_UPDATE, 0, 0, 1, request_peer ? 1 : 0 };
    if (!send_own(layer, RECORD_HANDSHAKE, bytes_of(message, sizeof message))) {
        return false;
    }
    record_protection_advance(layer->sealing);
    layer->owes_key_update = false;
    record_note_key_update(&layer->base);
    return true;
}

static void end_both(struct native_layer *layer, enum record_problem problem, char *sentence)
{
    memory_free(layer->failure);
    layer->failure = sentence;
    record_note_problem(&layer->base, problem);
    layer->input_end = layer->output_end = RECORD_FAILED;
}

void native_layer_fail(struct native_layer *layer, enum record_problem problem, const char *sentence)
{
    if (layer->output_end == RECORD_FAILED) {
        return;
    }
    int alert = layer->is_closing ? -1 : record_problem_alert(problem); /* close_notify was our last word */
    end_both(layer, problem,
        alert < 0 ? string_duplicate(sentence)
                  : string_format("%s (sent alert %s (%d))", sentence, tls_alert_name(alert), alert));
    if (alert >= 0) {
        (void)native_layer_send_alert(layer, ALERT_LEVEL_FATAL, alert);
    }
    (void)send_queue_flush(&layer->queue, layer->base.descriptor);
}

void native_layer_receive_alert(struct native_layer *layer, int alert)
{
    end_both(layer, RECORD_PROBLEM_ALERT_RECEIVED,
        string_format("received fatal alert: %s (%d)", tls_alert_name(alert), alert));
}
