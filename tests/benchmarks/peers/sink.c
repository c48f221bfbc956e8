/* sink URL QUEUE ITEMS OUT: consume and ack until so many items have come, then write what came to the file OUT.
 *
 * The same for all that is compared, and cheap. `steady` is when a third of the items had come, in `messages_before`
 * messages: what starts slowly can be measured from there on. It looks for the number of each item, `"n":123`, and counts and adds
 * them, so that an item that is missing or came twice is noticed. It ends when it is killed.
 */
#define _GNU_SOURCE
#include <unistd.h>
#include "common.h"

#define PREFETCH 500
#define ACK_EVERY 20

static uint64_t messages, items, sum, bytes, messages_before;
static double first, steady, last;

static void count(amqp_bytes_t body)
{
    const char *at = body.bytes, *end = at + body.len;
    messages++;
    bytes += body.len;
    while ((at = memmem(at, end - at, "\"n\":", 4)) != NULL) {
        at += 4;
        uint64_t number = 0;
        for (; at < end && *at >= '0' && *at <= '9'; at++)
            number = number * 10 + (*at - '0');
        sum += number;
        items++;
    }
}

static void tell(const char *path)
{
    char draft[4096];
    snprintf(draft, sizeof draft, "%s.draft", path);
    FILE *file = fopen(draft, "w");
    if (file == NULL)
        fail("writing", 0);
    fprintf(file, "{\"messages\": %lu, \"items\": %lu, \"sum\": %lu, \"bytes\": %lu, \"first\": %.6f, \"last\": %.6f, "
            "\"steady\": %.6f, \"messages_before\": %lu}\n",
            messages, items, sum, bytes, first, last, steady, messages_before);
    fclose(file);
    rename(draft, path);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    amqp_connection_state_t connection = open_connection(argv[1]);
    uint64_t expected = strtoull(argv[3], NULL, 10), tag = 0, unacked = 0;
    consume(connection, argv[2], PREFETCH);
    while (items < expected) {
        amqp_envelope_t envelope;
        struct timeval soon = {0, unacked ? 2000 : 500000};
        amqp_maybe_release_buffers(connection);
        amqp_rpc_reply_t reply = amqp_consume_message(connection, &envelope, &soon, 0);
        int idle = reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && reply.library_error == AMQP_STATUS_TIMEOUT;
        if (!idle) {
            must(reply, "consuming");
            last = now();
            if (messages == 0)
                first = last;
            count(envelope.message.body);
            if (steady == 0 && items >= expected / 3) {
                steady = last;
                messages_before = messages;
            }
            tag = envelope.delivery_tag;
            unacked++;
            amqp_destroy_envelope(&envelope);
        }
        if (unacked >= ACK_EVERY || (idle && unacked) || items >= expected) {
            amqp_basic_ack(connection, 1, tag, 1);
            unacked = 0;
        }
    }
    tell(argv[4]);
    for (;;) /* until killed: what a channel has acked may be missing in the broker's figures once it is closed */
        pause();
}
