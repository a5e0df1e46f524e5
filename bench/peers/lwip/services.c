#include "services.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lwip/tcp.h"

struct counters counters;

enum service { kEcho, kDiscard, kChargen, kHttp };
static const struct {
  u16_t port;
  enum service service;
} kPorts[] = {{7, kEcho}, {9, kDiscard}, {19, kChargen}, {80, kHttp}};

// RFC 864: lines of 72 of the 95 printable characters; the pattern comes again after 95 lines.
enum { kLine = 74, kLines = 95, kPattern = kLine * kLines };
static char pattern[kPattern];
static char* answer;
static size_t answer_size;

struct connection {
  struct tcp_pcb* pcb;
  enum service service;
  struct pbuf* pending;  ///< of echo: what goes back yet
  size_t at;             ///< in the pattern or the answer
  unsigned answers;      ///< of http: so many to send, the first of them from `at` on
  unsigned matched;      ///< of http: how much of the end of a request was seen
  bool closing;          ///< the peer's FIN has come
};

static void make_pattern(void) {
  for (int line = 0; line < kLines; ++line) {
    char* at = pattern + line * kLine;
    for (int i = 0; i < kLine - 2; ++i) *at++ = (char)(' ' + (line + i) % 95);
    memcpy(at, "\r\n", 2);
  }
}

static int make_answer(const char* page, size_t size) {
  static const char kHead[] =
      "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %zu\r\n\r\n";
  answer = malloc(sizeof kHead + 20 + size);
  if (answer == NULL) return -1;
  const int head = sprintf(answer, kHead, size);
  if (size != 0) memcpy(answer + head, page, size);
  answer_size = (size_t)head + size;
  return 0;
}

/// What is to be sent next, and how much of it lies in one piece; 0 for nothing.
static size_t next_piece(const struct connection* c, const char** data) {
  switch (c->service) {
    case kEcho:
      if (c->pending == NULL) return 0;
      *data = c->pending->payload;
      return c->pending->len;
    case kChargen:
      *data = pattern + c->at;
      return kPattern - c->at;
    case kHttp:
      *data = answer + c->at;
      return c->answers != 0 ? answer_size - c->at : 0;
    default:
      return 0;
  }
}

static void drop_pending(struct connection* c, u16_t size) {
  c->pending = pbuf_free_header(c->pending, size);
  tcp_recved(c->pcb, size);
}

static void on_written(struct connection* c, u16_t size) {
  counters.octets_out += size;
  if (c->service == kEcho) {
    drop_pending(c, size);
  } else if (c->service == kChargen) {
    c->at = (c->at + size) % kPattern;
  } else if ((c->at += size) == answer_size) {
    c->at = 0;
    --c->answers;
  }
}

/// Gives lwIP what it takes; the rest goes when it tells of octets sent, or polls.
static void push(struct connection* c) {
  const char* data = NULL;
  size_t size;
  while ((size = next_piece(c, &data)) != 0) {
    const u16_t room = tcp_sndbuf(c->pcb);
    const u16_t part = (u16_t)(size < room ? size : room);
    if (part == 0 || tcp_write(c->pcb, data, part, TCP_WRITE_FLAG_COPY) != ERR_OK) break;
    on_written(c, part);
  }
  tcp_output(c->pcb);
}

static void forget(struct connection* c) {
  if (c->pending != NULL) pbuf_free(c->pending);
  free(c);
}

/// Ends a connection of which all is sent. What is to be returned to lwIP.
static err_t end(struct connection* c) {
  struct tcp_pcb* pcb = c->pcb;
  tcp_arg(pcb, NULL);
  tcp_recv(pcb, NULL);
  tcp_sent(pcb, NULL);
  tcp_poll(pcb, NULL, 0);
  tcp_err(pcb, NULL);
  forget(c);
  if (tcp_close(pcb) == ERR_OK) return ERR_OK;
  tcp_abort(pcb);
  return ERR_ABRT;
}

static err_t go_on(struct connection* c) {
  const char* data;
  push(c);
  const bool endless = c->service == kChargen;
  return c->closing && (endless || next_piece(c, &data) == 0) ? end(c) : ERR_OK;
}

/// Counts the empty lines: each ends a request, none of which has a body.
static void read_requests(struct connection* c, const struct pbuf* p) {
  static const char kEnd[] = "\r\n\r\n";
  for (; p != NULL; p = p->next) {
    for (const char *at = p->payload, *end = at + p->len; at != end; ++at) {
      c->matched = *at == kEnd[c->matched] ? c->matched + 1 : *at == '\r';
      if (c->matched == sizeof kEnd - 1) {
        c->matched = 0;
        ++c->answers;
      }
    }
  }
}

static void take(struct connection* c, struct pbuf* p) {
  counters.octets_in += p->tot_len;
  if (c->service == kEcho) {  // its window opens as the octets go back
    if (c->pending == NULL)
      c->pending = p;
    else
      pbuf_cat(c->pending, p);
    return;
  }
  if (c->service == kHttp) read_requests(c, p);
  tcp_recved(c->pcb, p->tot_len);
  pbuf_free(p);
}

static err_t on_received(void* arg, struct tcp_pcb* pcb, struct pbuf* p, err_t error) {
  struct connection* c = arg;
  (void)pcb, (void)error;
  if (p == NULL)
    c->closing = true;
  else
    take(c, p);
  return go_on(c);
}

static err_t on_sent(void* arg, struct tcp_pcb* pcb, u16_t size) {
  (void)pcb, (void)size;
  return go_on(arg);
}

static err_t on_poll(void* arg, struct tcp_pcb* pcb) {
  (void)pcb;
  return go_on(arg);
}

/// lwIP has freed its part already.
static void on_error(void* arg, err_t error) {
  (void)error;
  forget(arg);
}

static err_t on_accepted(void* arg, struct tcp_pcb* pcb, err_t error) {
  if (error != ERR_OK || pcb == NULL) return ERR_VAL;
  struct connection* c = calloc(1, sizeof *c);
  if (c == NULL) return ERR_MEM;
  c->pcb = pcb;
  c->service = *(const enum service*)arg;
  ++counters.connections;
  tcp_nagle_disable(pcb);
  tcp_arg(pcb, c);
  tcp_recv(pcb, on_received);
  tcp_sent(pcb, on_sent);
  tcp_err(pcb, on_error);
  tcp_poll(pcb, on_poll, 1);
  return go_on(c);
}

int serve_all(const char* page, size_t page_size) {
  make_pattern();
  if (make_answer(page, page_size) != 0) return -1;
  for (size_t i = 0; i < sizeof kPorts / sizeof *kPorts; ++i) {
    struct tcp_pcb* pcb = tcp_new_ip_type(IPADDR_TYPE_V4);
    if (pcb == NULL || tcp_bind(pcb, IP4_ADDR_ANY, kPorts[i].port) != ERR_OK) return -1;
    if ((pcb = tcp_listen_with_backlog(pcb, 255)) == NULL) return -1;
    tcp_arg(pcb, (void*)&kPorts[i].service);
    tcp_accept(pcb, on_accepted);
  }
  return 0;
}
