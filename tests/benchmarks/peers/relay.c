/* relay URL FROM TO: consume, publish confirmed, ack; what a client in C reaches at most on these queues.
 *
 * Two connections, since a broker throttles one that publishes. Deliveries are published as they come, at most WINDOW of
 * them unconfirmed; as the confirms come, all deliveries up to the last in an unbroken row are acked by one frame.
 * Runs until it is killed.
 */
#include "common.h"
#include <sys/select.h>

#define WINDOW 200

static amqp_connection_state_t reader, writer;
static uint64_t published, settled;
static uint64_t tags[WINDOW];
static char confirmed[WINDOW];

static int relay_one(const char *to)
{
    amqp_envelope_t envelope;
    struct timeval none = {0, 0};
    amqp_rpc_reply_t reply = amqp_consume_message(reader, &envelope, &none, 0);
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && reply.library_error == AMQP_STATUS_TIMEOUT)
        return 0;
    must(reply, "consuming");
    int status = amqp_basic_publish(writer, 1, amqp_empty_bytes, amqp_cstring_bytes(to), 1, 0,
                                    &envelope.message.properties, envelope.message.body);
    if (status != AMQP_STATUS_OK)
        fail("publishing", status);
    tags[published % WINDOW] = envelope.delivery_tag;
    confirmed[published % WINDOW] = 0;
    published++;
    amqp_destroy_envelope(&envelope);
    return 1;
}

/* The broker numbers publications from 1; a confirm says one number, or all up to it. */
static int read_confirm(void)
{
    amqp_frame_t frame;
    struct timeval none = {0, 0};
    int status = amqp_simple_wait_frame_noblock(writer, &frame, &none);
    if (status == AMQP_STATUS_TIMEOUT)
        return 0;
    if (status != AMQP_STATUS_OK)
        fail("waiting for a confirm", status);
    if (frame.frame_type != AMQP_FRAME_METHOD)
        return 1;
    if (frame.payload.method.id != AMQP_BASIC_ACK_METHOD) {
        fprintf(stderr, "not a confirm but method %08x\n", frame.payload.method.id);
        exit(1);
    }
    amqp_basic_ack_t *ack = frame.payload.method.decoded;
    uint64_t last = ack->delivery_tag - 1;
    for (uint64_t one = ack->multiple ? settled : last; one <= last; one++)
        confirmed[one % WINDOW] = 1;
    return 1;
}

static void ack_confirmed(void)
{
    uint64_t before = settled;
    while (settled < published && confirmed[settled % WINDOW])
        settled++;
    if (settled > before && amqp_basic_ack(reader, 1, tags[(settled - 1) % WINDOW], 1) != 0)
        fail("acking", 0);
}

static void wait_for_either(void)
{
    int one = amqp_get_sockfd(reader), other = amqp_get_sockfd(writer);
    fd_set sockets;
    struct timeval second = {1, 0};
    FD_ZERO(&sockets);
    FD_SET(one, &sockets);
    FD_SET(other, &sockets);
    select((one > other ? one : other) + 1, &sockets, NULL, NULL, &second);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    reader = open_connection(argv[1]);
    writer = open_connection(argv[1]);
    amqp_confirm_select(writer, 1);
    must(amqp_get_rpc_reply(writer), "asking for confirms");
    consume(reader, argv[2], WINDOW);
    for (;;) {
        int moved = 0;
        amqp_maybe_release_buffers(reader);
        amqp_maybe_release_buffers(writer);
        while (published - settled < WINDOW && relay_one(argv[3]))
            moved = 1;
        while (read_confirm())
            moved = 1;
        ack_confirmed();
        if (!moved)
            wait_for_either();
    }
}
