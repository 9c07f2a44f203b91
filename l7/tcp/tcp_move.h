/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A live TCP connection leaves one kernel and enters another (TCP_REPAIR, tcp(7); CRIU's order of calls is the
 * model).  Who calls has made the flow's row HOLD first, on both sides (l7/row/rows.h): what arrives meanwhile waits
 * in the sender's TAP, what leaves is dropped.  PLATFORM's rules:
 *
 *  1. Export only from ESTABLISHED, with nothing out of order, with queues up to a limit: all else is refused and
 *     the connection goes on where it is.
 *  2. The exported descriptor is kept, frozen, until the receiver has answered.  Resuming is one call and loses
 *     nothing; closing it in repair mode is silent.
 *  3. What was received and not read is peeked: it is still in the frozen socket.
 *  4. Import: sequence numbers, MSS and timestamp before connect, options, queues, window after; a packet that
 *     came in between would poison the connection, hence the HOLD.
 *  5. Bytes that were sent and not acknowledged are restored as in flight; those never sent are sent after
 *     tcp_move_go(), as the congestion window allows.
 *
 *  6. What the connection had learned is put back: congestion window, threshold and ECN by a congestion control of our
 *     own that it passes through (l7/tcp/tcp_seed.bpf.c), the path's MTU as a limit of the MSS, srtt and ts_recent by a
 *     crafted acknowledgement (tcp_move_seed) of one byte that is imported as in flight though the client has it.
 *
 * What does not follow, since no kernel of Debian 12 or 13 can be told: srtt finer than 1 ms, its variance (the first
 * sample's rule makes it half of srtt), and both where the client has no timestamps (the time-out is then the initial one
 * until a sample); the receive buffer's own tuning; a congestion control's private memory (CUBIC's last maximum, BBR's
 * bandwidth); AccECN's counters; a PMTU that grows again (the MSS stays limited).  What needs l7/tcp/tcp_seed.bpf.c, and
 * without it starts anew: the window (10 segments), the threshold (none), ECN (off).
 *
 * Needs CAP_NET_ADMIN, also to resume; with tcp_move_open() CAP_BPF and, when it loads, CAP_PERFMON.
 */
#ifndef L7_TCP_TCP_MOVE_H
#define L7_TCP_TCP_MOVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "l7/buffer.h"
#include "pop/address.h"

#define TCP_MOVE_QUEUE_MAX (256u << 10) /* each of the two queues, at most, whatever a caller allows */
#define TCP_MOVE_CONGESTION_LEN 16

struct tcp_move {
	struct address client, vip;
	uint16_t client_port, vip_port;
	uint32_t snd_una; /* the oldest byte in `send` */
	uint32_t unsent;  /* bytes at the end of `send` that never left */
	uint32_t rcv_nxt; /* behind the last byte in `received` */
	uint32_t snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup;
	uint32_t timestamp; /* our clock in the timestamp option */
	uint32_t ts_recent; /* the client's, as last seen; 0: not known (no option tells it) */
	uint32_t srtt_us, rttvar_us, cwnd, ssthresh, user_timeout_ms;
	uint16_t mss_clamp, pmtu, keep_idle_s, keep_interval_s;
	uint8_t snd_wscale, rcv_wscale, tos, keep_count;
	bool timestamps, sack, wscale, nodelay, keepalive, ecn;
	bool owes_ack; /* the client has data of its own unacknowledged: it would wait, and send it again */
	char congestion[TCP_MOVE_CONGESTION_LEN];
	struct buffer received; /* not read yet */
	struct buffer send;	/* not acknowledged yet */
};

/*
 * Once per process, before threads, on the host's own bpffs and cgroup: with it an export is one read and an import
 * restores what was learned; without it, or where it fails (why says what is then missing), socket options do what they
 * can.  take_off: the congestion control and its pins too, which else wait for the next process.
 */
#define TCP_MOVE_PIN_DIR "/sys/fs/bpf/baton-tcp" /* of the kernel, whose one congestion control it is */
int tcp_move_open(char *why, size_t why_len);
void tcp_move_close(bool take_off);

/*
 * Freezes the connection and writes it down.  0: it is frozen until tcp_move_resume() or close().  Else it goes on:
 * -ENOTCONN (not ESTABLISHED: also a half-closed one, since an import is always ESTABLISHED), -EMSGSIZE (a queue is
 * longer than queue_max), -EAGAIN (urgent data, data out of order, or perhaps such data: read and try again),
 * -EPROTONOSUPPORT (MPTCP, MD5, TCP-AO, microsecond timestamps), -EPERM.  A closed window is no reason: the probes go on.
 */
int tcp_move_export(int fd, size_t queue_max, struct tcp_move *m);
int tcp_move_resume(int fd);
/* Packets that were past the row already may reach the frozen socket: called just before the struct is sent.  0:
 * nothing came; 1: m is as of now; -ENOTCONN and others: no longer to be moved, resume. */
int tcp_move_refresh(int fd, size_t queue_max, struct tcp_move *m);
/*
 * What our own HOLD dropped on its way out (enum row_dropped of l7/row/flow.h, read after the export).  Data: the importer
 * sends all that is not acknowledged at once, else the client waits for a time-out; what it has it ignores.  (More than
 * any congestion window lets go at once stays in flight, and the importer's probe or time-out repairs it.)  An
 * acknowledgement: the importer says it again.  (One that was only owed, since the kernel delays them, is known without.)
 */
void tcp_move_dropped(struct tcp_move *m, unsigned dropped);
/* A frame for rows_inject() on the host that has the live socket, after tcp_move_go() where m->owes_ack, and after
 * tcp_move_resume(): our kernel acknowledges at once what it has.  Its length. */
#define TCP_MOVE_NUDGE_MAX 74
size_t tcp_move_nudge(const struct tcp_move *m, uint8_t frame[TCP_MOVE_NUDGE_MAX]);
void tcp_move_free(struct tcp_move *m); /* wipes the queues */

/* A socket to import into, made before it is needed (most of what an import costs beside its queues). */
int tcp_move_socket(int family); /* a descriptor, or -errno */
/* Half of an import: all but life.  On failure close fd: nobody hears of it.  -EADDRNOTAVAIL: the VIP is not on this
 * host, or the flow's old socket is. */
int tcp_move_import(int fd, const struct tcp_move *m);
/* The socket lives from here and takes packets. */
int tcp_move_live(int fd, const struct tcp_move *m);
/* A frame for rows_inject() right after tcp_move_live() and before tcp_move_send(): an acknowledgement as if from the
 * client, that is a sample of srtt and restores ts_recent.  Its length; 0: nothing to seed. */
#define TCP_MOVE_SEED_MAX 86
size_t tcp_move_seed(int fd, const struct tcp_move *m, uint8_t frame[TCP_MOVE_SEED_MAX]);
/* Sends what was unsent.  -EAGAIN: `left` bytes of m->send's end did not fit the send buffer, they are the caller's. */
int tcp_move_send(int fd, const struct tcp_move *m, size_t *left);
/* Live and send, where nothing can be injected. */
int tcp_move_go(int fd, const struct tcp_move *m, size_t *left);

/*
 * The struct as bytes, for OFFER; big-endian:
 *   0 u8 format 2 | 1 u8 family 4, 6 | 2 be16 flags (1 timestamps, 2 sack, 4 wscale, 8 nodelay, 16 keepalive, 32 owes_ack,
 *     64 ecn)
 *   4 be16 client port | 6 be16 VIP port | 8 [16] client | 24 [16] VIP (IPv4: the first 4 bytes, then zero)
 *  40 be32 snd_una | 44 be32 unsent | 48 be32 rcv_nxt | 52 be32 bytes received | 56 be32 bytes to send
 *  60 be32 snd_wl1 | 64 be32 snd_wnd | 68 be32 max_window | 72 be32 rcv_wnd | 76 be32 rcv_wup | 80 be32 timestamp
 *  84 be32 ts_recent | 88 be32 srtt_us | 92 be32 rttvar_us | 96 be32 cwnd | 100 be32 ssthresh | 104 be32 user_timeout_ms
 * 108 be16 mss_clamp | 110 be16 pmtu | 112 be16 keep_idle_s | 114 be16 keep_interval_s
 * 116 u8 snd_wscale | 117 u8 rcv_wscale | 118 u8 tos | 119 u8 keep_count
 * 120 [16] congestion control, zero-padded | 136 received, then to send
 */
#define TCP_MOVE_FORMAT 2
#define TCP_MOVE_HEAD 136
size_t tcp_move_len(const struct tcp_move *m);
void tcp_move_put(const struct tcp_move *m, uint8_t *out); /* tcp_move_len bytes */
int tcp_move_get(const uint8_t *p, size_t len, struct tcp_move *m); /* -EINVAL, -ENOMEM: nothing to free */

#endif
