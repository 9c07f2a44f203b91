/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What pop.yaml says about layer 7: which VIP ports are terminated here, with which certificates,
 * which route leads to which pool, and how a pool is balanced.  Part of struct pop (pop->edge);
 * read-only once parsed, shared by all workers.
 *
 *   edges:
 *     - vip: www
 *       port: 443
 *       tls:
 *         certificates: /etc/baton/certs/www   # a directory of NAME.pem with key
 *         min_version: "1.2"
 *         kernel: auto            # auto | never: seals large answers from files
 *         client: {ca: /etc/baton/clients.pem, verify: required, depth: 4, crl: /etc/baton/crl}   # verify: required | optional
 *       http2: true
 *       routes:
 *         - {host: "*.example.net", path: /img/, extension: [jpg, png], pool: images}
 *         - {method: [PUT, DELETE], header: {x-tier: gold}, pool: store}
 *         - {pool: web, mode: auto}     # auto | proxy | handoff
 *   pools:
 *     - name: web
 *       policy: affinity            # round_robin | least_connections | affinity | lard
 *       affinity: url               # url | host | cookie NAME | client
 *       replicas: 2                 # an object lives on k of n backends (partial replication)
 *       backends: [{host: h1, port: 8080, weight: 1}, {address: 192.0.2.9, port: 80}]
 *       check: {http: {path: /health, interval: 1s}}
 *       timeouts: {connect: 1s, response: 30s, idle: 60s}
 *       limits: {connections: 1000, queue: 1000}
 *       retries: 2
 *       proxy_protocol: false
 *       tls: {verify: name, name: backend.example.net, ca: /etc/baton/backends.pem}  # verify: off | none | chain | name
 *   handoff: {port: 7440}           # connections move to the host that answers; without it all is proxied
 *   access_log: {path: /var/log/baton/access.log, format: json}
 *   # a backend's socket: /run/answer.sock: a program on that host that takes connections itself (app/baton_app.h)
 *   store: {directory: /srv/objects, port: 7480, object_max: 1G, writable: true}
 */
#ifndef L7_CONF_H
#define L7_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "pop/address.h"

#define EDGE_NAME_LEN 64
#define EDGE_HOST_LEN 256
#define EDGE_PATH_LEN 1024
#define BACKEND_SOCKET_LEN 108 /* sun_path */

enum pool_policy { POLICY_ROUND_ROBIN, POLICY_LEAST_CONNECTIONS, POLICY_AFFINITY, POLICY_LARD };
enum affinity_key { AFFINITY_URL, AFFINITY_HOST, AFFINITY_COOKIE, AFFINITY_CLIENT };

struct backend_conf {
	uint16_t weight;
	uint16_t host; /* host id when it runs on one of ours (a candidate for hand-off), else HOST_NONE */
	uint16_t port;
	struct address address;
	char socket[BACKEND_SOCKET_LEN]; /* of a program that takes connections (app/baton_app.h); empty: none */
};

/* To backends, and what is asked of their certificates: nothing, a chain to a CA, and the name as well. */
enum backend_tls { BACKEND_TLS_OFF, BACKEND_TLS_NONE, BACKEND_TLS_CHAIN, BACKEND_TLS_NAME };

struct pool_conf {
	char name[EDGE_NAME_LEN];
	enum pool_policy policy;
	enum affinity_key affinity;
	char cookie[EDGE_NAME_LEN];
	uint8_t replicas;	   /* affinity: the object's k owners; 1 */
	uint16_t bound_percent;	   /* affinity: a backend takes at most this share of the average load; 125 */
	struct backend_conf *backend;
	uint32_t n_backends;
	bool check;		   /* active health checks, beside the passive ones */
	char check_path[EDGE_PATH_LEN];
	uint32_t check_interval_ms, check_timeout_ms;
	uint16_t check_rise, check_fall;
	uint32_t connect_ms, response_ms, idle_ms; /* 1000, 30000, 60000 */
	uint32_t max_connections;  /* to one backend; 1000 */
	uint32_t max_queue;	   /* requests waiting for a connection; 1000 */
	uint32_t keep;		   /* idle connections kept per backend and worker; 64 */
	uint32_t preopen;	   /* opened before they are needed; 0 */
	uint32_t slow_start_ms;	   /* a backend that came back gets its full share after; 10000 */
	uint8_t retries;	   /* elsewhere, before the first byte of the answer; 2 */
	uint8_t retry_budget_percent; /* of requests that may be retries; 20 */
	bool proxy_protocol;	   /* PROXY v2 to the backend */
	enum backend_tls tls;
	char tls_name[EDGE_HOST_LEN]; /* sent as server name, and what the certificate must be for */
	char tls_ca[EDGE_PATH_LEN];   /* certificates of CAs; empty: the system's */
};

struct header_match {
	char name[EDGE_NAME_LEN];
	char value[EDGE_HOST_LEN]; /* empty: present */
};

/* Who answers a route's clients: auto decides by size and affinity (l7/handoff/move_policy.h). */
enum route_mode { ROUTE_AUTO, ROUTE_PROXY, ROUTE_HANDOFF };

/* All that is given must match; empty: any.  The first route that matches is taken. */
struct route_conf {
	char host[EDGE_HOST_LEN];     /* exact, or "*.example.net" */
	char path[EDGE_PATH_LEN];     /* prefix, at a segment boundary unless it ends in "/" */
	char (*extension)[16];
	uint32_t n_extensions;
	uint8_t *method;	      /* enum http_method of l7/http/head.h */
	uint32_t n_methods;
	uint32_t methods;	      /* the same as a bit mask; 0: any */
	struct header_match *header;
	uint32_t n_headers;
	char pool_name[EDGE_NAME_LEN];
	uint32_t pool;		      /* index into pools */
	enum route_mode mode;
};

/* What is asked of clients' certificates. */
enum client_cert_verify { CLIENT_CERT_REQUIRED, CLIENT_CERT_OPTIONAL };

struct client_cert_conf {
	char ca[EDGE_PATH_LEN];	      /* a file, or a directory of NAME.pem; empty: no certificate is asked for */
	char crl[EDGE_PATH_LEN];      /* likewise, of revoked certificates; empty: none is looked up */
	enum client_cert_verify verify;
	uint8_t depth;		      /* certificates between the client's and its CA's own, at most; 4 */
	bool chain;		      /* those go to backends too */
};

/* Who seals large answers from files: the kernel where it can, or always baton-l7d. */
enum kernel_tls { KERNEL_TLS_AUTO, KERNEL_TLS_NEVER };

struct edge_conf {
	char vip_name[EDGE_NAME_LEN];
	uint32_t vip;		      /* index into pop->vip */
	uint16_t port;
	bool tls, http2;
	char certificates[EDGE_PATH_LEN];
	uint16_t tls_min;	      /* 0x0303 or 0x0304 */
	enum kernel_tls kernel_tls;
	struct client_cert_conf client;
	struct route_conf *route;
	uint32_t n_routes;
	uint32_t head_max;	      /* bytes of a request head; 16384 */
	uint64_t body_max;	      /* 0: no limit */
	uint32_t head_ms, idle_ms, body_ms; /* slow clients: 10000, 60000, 30000 without progress */
	uint32_t max_connections;     /* per worker; 100000 */
};

struct store_conf {
	bool enabled;		      /* the object server on every host */
	char directory[EDGE_PATH_LEN];
	uint16_t port;
	uint64_t object_max;	      /* bytes; 1 GiB */
	bool writable;		      /* PUT and DELETE */
	bool log;		      /* its requests stand in the access log too */
};

#define WORKERS_MAX 256

struct handoff_conf {
	bool enabled;		      /* the section is there */
	uint16_t port;		      /* of the first worker's sessions with other hosts, 7500; worker i has port + i */
	uint64_t queue_max;	      /* bytes in one of a connection's two queues: more, and it is proxied; 64K */
	uint32_t max_connections;     /* that came from other hosts, per worker; 100000 */
};

enum access_format { ACCESS_JSON, ACCESS_COMBINED };

struct access_log_conf {
	char path[EDGE_PATH_LEN];     /* empty: none.  Opened again on SIGHUP */
	enum access_format format;
};

struct l7_conf {
	struct edge_conf *edge;
	uint32_t n_edges;
	struct pool_conf *pool;
	uint32_t n_pools;
	struct store_conf store;
	struct access_log_conf access_log;
	struct handoff_conf handoff;
};

#endif
