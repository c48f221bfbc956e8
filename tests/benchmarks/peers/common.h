/* What the programs in C share: connecting, failing, the clock. */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline void fail(const char *what, int status)
{
    fprintf(stderr, "%s: %s\n", what, status < 0 ? amqp_error_string2(status) : "the broker refused");
    exit(1);
}

static inline void must(amqp_rpc_reply_t reply, const char *what)
{
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        fail(what, reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION ? reply.library_error : 0);
}

/* A connection with one channel, by an AMQP URL. */
static inline amqp_connection_state_t open_connection(const char *url)
{
    struct amqp_connection_info info;
    char *text = strdup(url);
    int status = amqp_parse_url(text, &info);
    if (status != AMQP_STATUS_OK)
        fail("the URL", status);
    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    status = amqp_socket_open(socket, info.host, info.port);
    if (status != AMQP_STATUS_OK)
        fail("connecting", status);
    must(amqp_login(connection, info.vhost, 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, info.user, info.password), "login");
    amqp_channel_open(connection, 1);
    must(amqp_get_rpc_reply(connection), "opening a channel");
    free(text);
    return connection;
}

/* Consume with acks and a prefetch. */
static inline void consume(amqp_connection_state_t connection, const char *queue, uint16_t prefetch)
{
    amqp_basic_qos(connection, 1, 0, prefetch, 0);
    must(amqp_get_rpc_reply(connection), "setting the prefetch");
    amqp_basic_consume(connection, 1, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    must(amqp_get_rpc_reply(connection), "consuming");
}

/* Seconds by the clock that all processes of a machine share: Python's time.monotonic(). */
static inline double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}
