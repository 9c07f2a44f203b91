/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One POP as its operator wrote it down: pop.yaml, parsed and checked.  Read-only once parsed.
 * Every daemon works from the same text; the controller's log holds the one in force.
 */
#ifndef POP_POP_H
#define POP_POP_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/conf.h"
#include "l7/conf.h"
#include "lb/vmac.h"
#include "pop/address.h"

#define NAME_LEN 64
#define POP_HOSTS_MAX HOST_ID_MAX
#define POP_SWITCHES_MAX 64
#define HOST_INTERFACES_MAX 64 /* of one that is elsewhere */
#define POP_VIPS_MAX 1024
#define POP_ADDRESSES_MAX 4096 /* of all VIPs: the tables of switches and hosts have so many rows */

/* Where our announcements stand in the kernel, unless pop.yaml says otherwise; deploy/bird/baton.conf has the same. */
#define ROUTE_TABLE_DEFAULT 7430
#define ROUTE_PROTOCOL_DEFAULT 173 /* nobody's in linux/rtnetlink.h or iproute2's rt_protos */

struct service_port {
	uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	uint16_t port;	  /* host byte order */
};

enum check_kind { CHECK_TCP, CHECK_HTTP, CHECK_HTTPS, CHECK_SCRIPT };

struct check {
	enum check_kind kind;
	uint16_t port;	  /* TCP, HTTP(S); when not given, the VIP's first TCP port */
	char path[256];	  /* HTTP(S): request path; script: program */
	char host[256];	  /* HTTP(S): Host header and SNI; empty: the VIP's address */
	uint16_t expect;  /* HTTP(S): status code; 0: any 2xx or 3xx */
	uint32_t interval_ms, timeout_ms;
	uint16_t rise, fall;
};

struct vip {
	char name[NAME_LEN];
	struct address *address;
	uint32_t n_addresses;
	struct service_port *port;
	uint32_t n_ports;
	struct check *check;
	uint32_t n_checks;
};

enum fabric_kind { FABRIC_NETLINK, FABRIC_XDP, FABRIC_PACED };

struct switch_port {
	uint16_t host;	      /* host id at the other end, or HOST_NONE for a peer port */
	uint16_t peer;	      /* switch id at the other end, or 0 */
	char ifname[IF_NAMESIZE];
};

struct switch_conf {
	char name[NAME_LEN];
	uint16_t id; /* 1..POP_SWITCHES_MAX */
	enum fabric_kind fabric;
	struct address management;
	char bridge[IF_NAMESIZE]; /* the device that holds the host ports */
	char (*uplink)[IF_NAMESIZE];
	uint32_t n_uplinks;
	struct switch_port *port;
	uint32_t n_ports;
	char bird_socket[108]; /* BIRD's control socket; empty: announce nothing */
};

struct host_link {
	uint16_t switch_id;
	char ifname[IF_NAMESIZE];
};

enum datapath_kind { DATAPATH_AUTO, DATAPATH_EBPF, DATAPATH_MODULE };

struct host_conf {
	char name[NAME_LEN];
	uint16_t id;
	uint16_t weight;
	struct address management;
	enum datapath_kind datapath;
	struct host_link *link;
	uint32_t n_links;
	/* Elsewhere: no switch has a port to it, routers lead there.  Its interfaces; then it has no links, no buckets and weight 0. */
	char (*elsewhere)[IF_NAMESIZE];
	uint32_t n_elsewhere;
	struct address tunnel; /* what hosts elsewhere, or all if it is elsewhere itself, and it send each other inside IP; family 0: management */
};

struct controller_conf {
	char name[NAME_LEN];
	uint16_t id;
	struct endpoint endpoint;
};

/* Health and drain policy.  All have defaults. */
struct policy {
	uint32_t batch_ms;	     /* downs are judged in batches; 100 */
	uint32_t agent_silence_ms;   /* an agent unheard for this long makes its host sick; 3000 */
	uint32_t datapath_silence_ms; /* a probe unanswered for this long makes it dead; 500 */
	uint32_t hold_down_ms;	     /* up only after this long without a fault; doubles per flap; 1000 */
	uint32_t hold_down_max_ms;   /* 60000 */
	uint8_t floor_percent;	     /* drains and sickness never leave less serving weight; 50 */
	uint8_t burst_percent;	     /* more sick weight than this in one batch locks; 34 */
	uint32_t time_wait_ms;	     /* a TIME_WAIT socket older than this needs no shelter; 4000 */
	uint32_t graceful_shutdown_ms; /* switch drain: time between GRACEFUL_SHUTDOWN and withdrawal; 2000 */
	uint32_t silence_ms;	     /* detours and counters are silent after this long without one; 1000 */
};

struct pop {
	char name[NAME_LEN];
	uint32_t buckets;  /* fixed for the life of the POP; a power of two, 16..4096 */
	uint32_t hash_seed;
	uint32_t route_table;	/* kernel table for our announcements */
	uint8_t route_protocol; /* kernel protocol number of what is ours */
	struct policy policy;
	struct controller_conf *controller;
	uint32_t n_controllers;
	struct switch_conf *switches;
	uint32_t n_switches;
	struct host_conf *host;
	uint32_t n_hosts;
	struct vip *vip;
	uint32_t n_vips;
	struct l7_conf l7;
};

/*
 * Parses and checks a configuration text; `name` is for messages (borrowed by *errors).  NULL and at
 * least one entry in *errors if anything is wrong; all faults are found in one call.  The caller frees
 * both; *errors needs no initialisation.
 */
struct pop *pop_parse(const char *text, size_t len, const char *name, struct conf_errors *errors);
struct pop *pop_load(const char *path, struct conf_errors *errors);
void pop_free(struct pop *pop);

const struct host_conf *pop_host(const struct pop *pop, uint16_t id);
const struct host_conf *pop_host_by_name(const struct pop *pop, const char *name);
bool host_is_elsewhere(const struct host_conf *host);
const struct address *host_tunnel(const struct host_conf *host);
const struct switch_conf *pop_switch(const struct pop *pop, uint16_t id);
const struct switch_conf *pop_switch_by_name(const struct pop *pop, const char *name);
const struct vip *pop_vip_by_name(const struct pop *pop, const char *name);
const struct vip *pop_vip_by_address(const struct pop *pop, const struct address *a);
/* NULL where no such switch has a port to that host; and the other way round. */
const struct switch_port *pop_port_to_host(const struct switch_conf *sw, uint16_t host);
const struct host_link *pop_link_to_switch(const struct host_conf *host, uint16_t switch_id);

#endif
