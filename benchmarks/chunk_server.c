/* A server of scripted chunks that costs next to nothing: 100 ms to the first token, 20 ms between tokens.

   cc -O2 -o chunk_server chunk_server.c && ./chunk_server PORT [LOG]
   One thread on epoll, a heap of due times. It answers every POST with `max_tokens` events, a token each; nothing else
   is read of the request but its X-Request-Id. Its last line, at SIGTERM, says how many chunks it sent and how late they
   were; LOG then holds three native longs for each request read and each chunk: the request (-1: it has no number), its
   chunk (-1: read), and CLOCK_MONOTONIC right before the chunk was sent, or right after the request was read, ns. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { TTFT = 100000000, ITL = 20000000, CONNECTIONS = 65536, REQUEST = 65536 };
#define EVENT "data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1,\"model\":\"fake\",\"choices\":" \
              "[{\"index\":0,\"text\":\" abc\",\"logprobs\":null,\"finish_reason\":%s,\"token_ids\":[17]}]}\n\n"
#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

typedef struct { int fd, left, length, begun; long due, request; char text[REQUEST]; } Connection;
typedef struct { long request, chunk, at; } Entry;
static Connection *by_fd[CONNECTIONS], *heap[CONNECTIONS];
static int waiting;
static long sent, late_sum, late_most, logged, room;
static const char *log_path;
static Entry *entries;

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void log_at(long request, long chunk, long at) {
    if (!log_path) return;
    if (logged == room && !(entries = realloc(entries, (room = room ? 2 * room : 1 << 20) * sizeof(Entry)))) exit(3);
    entries[logged++] = (Entry){request, chunk, at};
}

static void push(Connection *c) {
    int i = waiting++;
    for (; i && heap[(i - 1) / 2]->due > c->due; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
}

static Connection *pop(void) {
    Connection *top = heap[0], *last = heap[--waiting];
    int i = 0;
    for (int k; (k = 2 * i + 1) < waiting; i = k) {
        if (k + 1 < waiting && heap[k + 1]->due < heap[k]->due) k++;
        if (heap[k]->due >= last->due) break;
        heap[i] = heap[k];
    }
    heap[i] = last;
    return top;
}

static void read_request(Connection *c) {
    ssize_t got = read(c->fd, c->text + c->length, REQUEST - 1 - c->length);
    long read_at = now();
    if (got <= 0) { /* gone: a connection that still has chunks to come is freed when the next is due */
        by_fd[c->fd] = NULL;
        close(c->fd);
        c->fd = -1;
        if (!c->left) free(c);
        return;
    }
    c->text[c->length += got] = 0;
    char *body = strstr(c->text, "\r\n\r\n"), *length = strcasestr(c->text, "content-length:");
    if (!body || !length || c->text + c->length < body + 4 + atoi(length + 15)) return;
    char *tokens = strstr(body, "\"max_tokens\":"), *request = strcasestr(c->text, "x-request-id:");
    c->left = tokens ? atoi(tokens + 13) : 1;
    c->request = request && request < body ? atol(request + 13) : -1;
    c->length = c->begun = 0;
    c->due = read_at + TTFT;
    log_at(c->request, -1, read_at);
    push(c);
}

static void send_chunk(Connection *c) {
    char out[2048], event[1024];
    if (c->fd < 0) { free(c); return; }
    int bytes = snprintf(event, sizeof event, EVENT, c->left > 1 ? "null" : "\"length\"");
    int all = snprintf(out, sizeof out, "%s%x\r\n%s\r\n%s", c->begun++ ? "" : HEAD, bytes, event,
                       c->left > 1 ? "" : "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    long at = now(), late = at - c->due;
    log_at(c->request, c->begun - 1, at);
    send(c->fd, out, all, MSG_NOSIGNAL);
    sent++, late_sum += late, late_most = late > late_most ? late : late_most;
    c->due += ITL;
    if (--c->left) push(c);
}

static void finish(int signal) {
    (void)signal;
    printf("%ld chunks sent, late %.3f ms in the mean, %.1f ms at most\n", sent, sent ? late_sum / 1e6 / sent : 0.0,
           late_most / 1e6);
    FILE *file = log_path ? fopen(log_path, "wb") : NULL;
    if (file) fwrite(entries, sizeof(Entry), logged, file), fclose(file);
    exit(0);
}

int main(int count, char **arguments) {
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1, poll = epoll_create1(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(arguments[1]) : 0),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event watch = {.events = EPOLLIN, .data.fd = listening}, events[512];
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    log_path = count > 2 ? arguments[2] : NULL;
    if (bind(listening, (void *)&at, sizeof at) || listen(listening, 4096)) return perror("chunk_server"), 2;
    epoll_ctl(poll, EPOLL_CTL_ADD, listening, &watch);
    signal(SIGTERM, finish);
    for (;;) {
        long wait = waiting ? heap[0]->due - now() : 100000000;
        struct timespec limit = {0, wait > 0 ? wait : 0};
        int ready = epoll_pwait2(poll, events, 512, &limit, NULL);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd != listening) {
                read_request(by_fd[events[i].data.fd]);
                continue;
            }
            for (int fd; (fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                by_fd[fd] = calloc(1, sizeof(Connection));
                by_fd[fd]->fd = fd;
                watch.data.fd = fd;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &watch);
            }
        }
        for (long instant = now(); waiting && heap[0]->due <= instant;) send_chunk(pop());
    }
}
