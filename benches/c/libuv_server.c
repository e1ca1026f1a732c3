/* A server on libuv for the comparison: the greeting, pings, and a port of our dedup.
 *
 * Frames are cut from one shared buffer in batches of 32; each is hashed with a key and its table
 * slot prefetched, then they are looked up in order. The table is flat, with open addressing, and
 * forgets the oldest of the last 2^20 payloads. A new payload is copied once into a counted
 * allocation and goes over a bounded lane to the chain's thread, which checks every byte.
 *
 * It prints `port N`; for each line `report N` it waits for N payloads and prints JSON. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

enum {
    HEADER_BYTES = 11,
    FRAME_BYTES = 300,        /* of a payload of this load */
    FRAME_BYTES_MAX = 1024,   /* of anything of this load */
    KIND_HAND = 1,
    KIND_SHAKE = 2,
    KIND_PING = 3,
    KIND_PONG = 4,
    KIND_TRANSACTION = 15,
    BATCH = 32,
    BUFFER_BYTES = 64 << 10,
    IDS_MAX = 1 << 20,
    SLOTS = IDS_MAX * 2,
    LANE = 1 << 16,
    NETWORK_CORE = 0,
    DRIVER_CORE = 1,
    NAP_US = 500,
    FULL_NAP_US = 100,
};

static const uint8_t MAGIC[2] = {0x49, 0x2b};
static const char GENESIS[32] = "molva-dev";
static const char USER_AGENT[] = "compare";

static _Atomic uint64_t frames_handled, distinct, wrong;

static void fail(const char *what) {
    fprintf(stderr, "libuv: %s\n", what);
    exit(1);
}

static void *must(void *memory) {
    if (!memory) fail("out of memory");
    return memory;
}

static uint64_t big_endian(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, 8);
    return __builtin_bswap64(value);
}

/* ---- the keyed hash: 48 bytes a step, three lanes of multiply and fold ---- */

static const uint64_t KEY[4] = {
    0x9fb21c651e98df25ull, 0xd6e8feb86659fd93ull, 0xa0761d6478bd642full, 0xe7037ed1a0b428dbull};

static uint64_t word(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, 8);
    return value;
}

static uint64_t fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* At least 16 bytes. Zero is the empty slot, so it is no hash. */
static uint64_t hash(const uint8_t *bytes, size_t length) {
    uint64_t a = KEY[0] ^ length, b = KEY[1], c = KEY[2];
    const uint8_t *last = bytes + length - 16;
    for (; length > 48; length -= 48, bytes += 48) {
        a = fold(word(bytes) ^ KEY[1], word(bytes + 8) ^ a);
        b = fold(word(bytes + 16) ^ KEY[2], word(bytes + 24) ^ b);
        c = fold(word(bytes + 32) ^ KEY[3], word(bytes + 40) ^ c);
    }
    a ^= b ^ c;
    for (; length > 16; length -= 16, bytes += 16)
        a = fold(word(bytes) ^ KEY[1], word(bytes + 8) ^ a);
    a = fold(fold(word(last) ^ KEY[2], word(last + 8) ^ a), KEY[3]);
    return a ? a : 1;
}

/* ---- what was seen ---- */

static uint64_t *slots; /* SLOTS; linear probing, no tombstones */
static uint64_t *order; /* the last IDS_MAX, by age */
static uint64_t remembered;

static size_t home(uint64_t print) { return print & (SLOTS - 1); }

static void forget(uint64_t print) {
    size_t hole = home(print);
    while (slots[hole] != print) hole = (hole + 1) & (SLOTS - 1);
    for (size_t next = hole;;) {
        next = (next + 1) & (SLOTS - 1);
        if (!slots[next]) break;
        size_t from_home = (next - home(slots[next])) & (SLOTS - 1);
        if (from_home >= ((next - hole) & (SLOTS - 1))) {
            slots[hole] = slots[next];
            hole = next;
        }
    }
    slots[hole] = 0;
}

/* Whether it is new; it is remembered then. */
static int is_new(uint64_t print) {
    for (size_t slot = home(print); slots[slot]; slot = (slot + 1) & (SLOTS - 1))
        if (slots[slot] == print) return 0;
    uint64_t *oldest = &order[remembered % IDS_MAX];
    if (remembered >= IDS_MAX) forget(*oldest);
    *oldest = print;
    remembered++;
    size_t slot = home(print);
    while (slots[slot]) slot = (slot + 1) & (SLOTS - 1);
    slots[slot] = print;
    return 1;
}

/* ---- the lane to the chain: one producer, one consumer ---- */

struct payload {
    _Atomic uint32_t owners;
    uint32_t length;
    uint8_t frame[];
};

static struct payload *lane[LANE];
static _Alignas(64) _Atomic uint64_t pushed;
static uint64_t popped_cached; /* the producer's */
static _Alignas(64) _Atomic uint64_t popped;

static void push(const uint8_t *frame, size_t length) {
    struct payload *payload = must(malloc(sizeof *payload + length));
    atomic_init(&payload->owners, 1);
    payload->length = (uint32_t)length;
    memcpy(payload->frame, frame, length);
    uint64_t at = atomic_load_explicit(&pushed, memory_order_relaxed);
    while (at - popped_cached == LANE) {
        popped_cached = atomic_load_explicit(&popped, memory_order_acquire);
        if (at - popped_cached == LANE) usleep(FULL_NAP_US);
    }
    lane[at % LANE] = payload;
    atomic_store_explicit(&pushed, at + 1, memory_order_release);
}

static void release(struct payload *payload) {
    if (atomic_fetch_sub_explicit(&payload->owners, 1, memory_order_acq_rel) == 1) free(payload);
}

static void pin(int core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    if (pthread_setaffinity_np(pthread_self(), sizeof cores, &cores)) fail("cannot pin");
}

static uint8_t *came; /* by number of the payload */
static uint64_t came_max;

static int is_right(const struct payload *payload) {
    if (payload->length != FRAME_BYTES) return 0;
    for (size_t at = 8; at < FRAME_BYTES - HEADER_BYTES; at++)
        if (payload->frame[HEADER_BYTES + at] != (uint8_t)(at * 31 + 7)) return 0;
    uint64_t number = big_endian(payload->frame + HEADER_BYTES);
    if (number >= UINT32_MAX) return 0;
    if (number >= came_max) {
        uint64_t more = (number + 1) * 2;
        came = must(realloc(came, more));
        memset(came + came_max, 0, more - came_max);
        came_max = more;
    }
    return !came[number]++;
}

static void *chain(void *unused) {
    (void)unused;
    pin(DRIVER_CORE);
    for (uint64_t at = 0;; usleep(NAP_US)) {
        uint64_t end = atomic_load_explicit(&pushed, memory_order_acquire);
        while (at < end) {
            struct payload *payload = lane[at % LANE];
            atomic_fetch_add(is_right(payload) ? &distinct : &wrong, 1);
            release(payload);
            atomic_store_explicit(&popped, ++at, memory_order_release);
        }
    }
    return NULL;
}

/* ---- connections ---- */

struct connection {
    uv_tcp_t tcp;
    int greeted;
    size_t tail_bytes;
    uint8_t *tail; /* of a partial frame; only while there is one */
};

struct reply {
    uv_write_t write;
    size_t length;
    uint8_t bytes[128];
};

static uint8_t buffer[BUFFER_BYTES];

static void on_written(uv_write_t *write, int status) {
    if (status < 0) fprintf(stderr, "libuv: %s\n", uv_strerror(status));
    free(write);
}

static void put(struct reply *reply, const void *bytes, size_t length) {
    memcpy(reply->bytes + reply->length, bytes, length);
    reply->length += length;
}

static void put_header(struct reply *reply, uint8_t kind, uint8_t length) {
    uint8_t header[HEADER_BYTES] = {MAGIC[0], MAGIC[1], kind};
    header[HEADER_BYTES - 1] = length;
    put(reply, header, sizeof header);
}

static int send_reply(struct connection *connection, struct reply *reply) {
    uv_buf_t bytes = uv_buf_init((char *)reply->bytes, (unsigned)reply->length);
    return uv_write(&reply->write, (uv_stream_t *)&connection->tcp, &bytes, 1, on_written);
}

/* Greets, and answers pings; anything else is a fault. */
static int answer(struct connection *connection, const uint8_t *frame, size_t length) {
    static const uint8_t nothing[16];
    uint8_t kind = frame[2];
    struct reply *reply = must(calloc(1, sizeof *reply));
    if (kind == KIND_HAND && !connection->greeted && length >= HEADER_BYTES + sizeof GENESIS
        && !memcmp(frame + length - sizeof GENESIS, GENESIS, sizeof GENESIS)) {
        static const uint8_t version[4] = {0, 0, 1000 >> 8, 1000 & 255};
        static const uint8_t agent_length[8] = {0, 0, 0, 0, 0, 0, 0, sizeof USER_AGENT - 1};
        connection->greeted = 1;
        put_header(reply, KIND_SHAKE, 4 + 12 + 8 + sizeof USER_AGENT - 1 + sizeof GENESIS);
        put(reply, version, sizeof version);
        put(reply, nothing, 12); /* capabilities, total difficulty */
        put(reply, agent_length, sizeof agent_length);
        put(reply, USER_AGENT, sizeof USER_AGENT - 1);
        put(reply, GENESIS, sizeof GENESIS);
    } else if (kind == KIND_PING && connection->greeted) {
        put_header(reply, KIND_PONG, 16);
        put(reply, nothing, 16);
    } else {
        free(reply);
        return -1;
    }
    return send_reply(connection, reply);
}

struct cut {
    const uint8_t *frame;
    size_t length;
    uint64_t print;
};

/* The frame at the front; 0 when it is not whole, -1 when it is none. */
static int cut(const uint8_t *bytes, size_t length, struct cut *out) {
    if (length < HEADER_BYTES) return 0;
    if (memcmp(bytes, MAGIC, sizeof MAGIC)) return -1;
    uint64_t body = big_endian(bytes + 3);
    if (body > FRAME_BYTES_MAX - HEADER_BYTES) return -1;
    if (length < HEADER_BYTES + body) return 0;
    out->frame = bytes;
    out->length = HEADER_BYTES + body;
    return 1;
}

static int on_frame(struct connection *connection, const struct cut *cut) {
    if (cut->frame[2] != KIND_TRANSACTION || !connection->greeted)
        return answer(connection, cut->frame, cut->length);
    if (is_new(cut->print)) push(cut->frame, cut->length);
    return 0;
}

static void fingerprint(struct cut *cut) {
    cut->print = 0;
    if (cut->frame[2] == KIND_TRANSACTION && cut->length >= 2 + 16) {
        cut->print = hash(cut->frame + 2, cut->length - 2);
        __builtin_prefetch(&slots[home(cut->print)]);
    }
}

/* Handles all whole frames; answers how many bytes they had, or -1. */
static ssize_t take_in(struct connection *connection, const uint8_t *bytes, size_t length) {
    struct cut cuts[BATCH];
    size_t at = 0;
    for (;;) {
        int count = 0, found = 1;
        while (count < BATCH && (found = cut(bytes + at, length - at, &cuts[count])) > 0) {
            fingerprint(&cuts[count]);
            at += cuts[count++].length;
        }
        for (int i = 0; i < count; i++)
            if (on_frame(connection, &cuts[i]) < 0) return -1;
        uint64_t handled = atomic_load_explicit(&frames_handled, memory_order_relaxed);
        atomic_store_explicit(&frames_handled, handled + count, memory_order_relaxed);
        if (found < 0) return -1;
        if (!found) return (ssize_t)at;
    }
}

/* Completes the partial frame; answers how many bytes that took, or -1. */
static ssize_t resume(struct connection *connection, const uint8_t *bytes, size_t length) {
    size_t used = 0;
    while (connection->tail_bytes) {
        uint8_t *tail = connection->tail;
        size_t wanted = HEADER_BYTES;
        if (connection->tail_bytes >= HEADER_BYTES) wanted += big_endian(tail + 3);
        size_t part = wanted - connection->tail_bytes;
        if (part > length - used) part = length - used;
        memcpy(tail + connection->tail_bytes, bytes + used, part);
        connection->tail_bytes += part;
        used += part;
        ssize_t taken = take_in(connection, tail, connection->tail_bytes);
        if (taken < 0) return -1;
        if (taken) connection->tail_bytes = 0;
        if (used == length) break;
    }
    if (!connection->tail_bytes) {
        free(connection->tail);
        connection->tail = NULL;
    }
    return (ssize_t)used;
}

static void on_closed(uv_handle_t *handle) {
    struct connection *connection = (struct connection *)handle;
    free(connection->tail);
    free(connection);
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *out) {
    (void)handle, (void)wanted;
    *out = uv_buf_init((char *)buffer, sizeof buffer);
}

static void on_read(uv_stream_t *stream, ssize_t read, const uv_buf_t *lent) {
    (void)lent;
    struct connection *connection = (struct connection *)stream;
    ssize_t used = 0, taken = 0;
    if (read > 0) {
        if (connection->tail_bytes) used = resume(connection, buffer, (size_t)read);
        if (used >= 0 && used < read)
            taken = take_in(connection, buffer + used, (size_t)(read - used));
    }
    if (read < 0 || used < 0 || taken < 0) {
        if (read >= 0) fprintf(stderr, "libuv: not in this load\n");
        uv_close((uv_handle_t *)stream, on_closed);
        return;
    }
    size_t rest = (size_t)(read - used - taken);
    if (rest) {
        connection->tail = must(malloc(FRAME_BYTES_MAX));
        connection->tail_bytes = rest;
        memcpy(connection->tail, buffer + used + taken, rest);
    }
}

static void on_connection(uv_stream_t *listener, int status) {
    struct connection *connection = must(calloc(1, sizeof *connection));
    if (status < 0 || uv_tcp_init(listener->loop, &connection->tcp)) fail("no connection");
    if (uv_accept(listener, (uv_stream_t *)&connection->tcp)) fail("accept");
    if (uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read)) fail("read_start");
}

static uv_loop_t loop;
static uv_tcp_t listener;

static int listen_somewhere(void) {
    struct sockaddr_in addr;
    int fd, on = 1, length = sizeof addr;
    if (uv_loop_init(&loop) || uv_tcp_init(&loop, &listener)) fail("loop");
    if (uv_ip4_addr("127.0.0.1", 0, &addr)) fail("address");
    if (uv_tcp_bind(&listener, (struct sockaddr *)&addr, 0)) fail("bind");
    if (uv_fileno((uv_handle_t *)&listener, &fd)) fail("fileno");
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)) fail("nodelay");
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5)) fail("cubic");
    if (uv_listen((uv_stream_t *)&listener, 1024, on_connection)) fail("listen");
    if (uv_tcp_getsockname(&listener, (struct sockaddr *)&addr, &length)) fail("name");
    return ntohs(addr.sin_port);
}

static void *network(void *unused) {
    (void)unused;
    pthread_setname_np(pthread_self(), "network");
    pin(NETWORK_CORE);
    uv_run(&loop, UV_RUN_DEFAULT);
    return NULL;
}

static void *pages(size_t bytes) {
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("out of memory");
    madvise(memory, bytes, MADV_HUGEPAGE); /* a wish: the host may have none */
    return memory;
}

int main(void) {
    pthread_t thread;
    char line[64];
    slots = pages(SLOTS * sizeof *slots);
    order = pages(IDS_MAX * sizeof *order);
    printf("port %d\n", listen_somewhere());
    fflush(stdout);
    if (pthread_create(&thread, NULL, chain, NULL)) fail("thread");
    if (pthread_create(&thread, NULL, network, NULL)) fail("thread");
    pin(DRIVER_CORE);
    while (fgets(line, sizeof line, stdin)) {
        unsigned long long expected = 0;
        if (sscanf(line, "report %llu", &expected) != 1) fail("expected `report N`");
        for (int ms = 0; ms < 5000 && atomic_load(&distinct) < expected; ms++) usleep(1000);
        usleep(20000);
        printf("{\"frames\":%llu,\"distinct\":%llu,\"wrong\":%llu}\n",
               (unsigned long long)atomic_load(&frames_handled),
               (unsigned long long)atomic_load(&distinct),
               (unsigned long long)atomic_load(&wrong));
        fflush(stdout);
    }
    return 0;
}
