/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * baton-l7d, on every host: the front end.  The main thread follows the controller's log, makes each
 * configuration into an immutable snapshot and gives it to the workers (worker.c), one per core, which
 * do everything that a request needs.  It also checks backends, writes the access log, and answers the
 * operator.
 *
 *   --standalone   no controller: pop.yaml is the configuration, read again on SIGHUP
 *   --workers N    instead of one per core
 *   --drain S      how long SIGTERM waits for requests that run (60)
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ctl.h"
#include "base/log.h"
#include "l7/backend.h"
#include "l7/handoff/handoff.h"
#include "l7/tls/ticket.h"
#include "l7/l7d.h"
#include "l7/object/object_server.h"
#include "l7/privilege.h"
#include "l7/tls/ktls.h"

#define LOG_FLUSH_MS 200
#define DRAIN_LOOK_MS 50

struct options {
	bool standalone;
	unsigned workers, drain_s;
};

static int fail(const char *what, int err)
{
	log_error("%s: %s", what, strerror(err < 0 ? -err : err));
	return 1;
}

/* --- access log ------------------------------------------------------------------------------------------- */
static void open_log(struct l7d *d)
{
	const struct access_log_conf *c = &d->snapshot->conf.access_log;
	unsigned i;
	int fd = -1;

	if (*c->path) {
		fd = open(c->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
		if (fd < 0)
			log_error("access log %s: %s: requests are not logged", c->path, strerror(errno));
	}
	if (d->log_fd >= 0)
		close(d->log_fd);
	d->log_fd = fd;
	for (i = 0; i < d->n_workers; i++)
		access_log_format(d->log[i], fd >= 0, c->format);
}

static void flush_log(struct l7d *d)
{
	unsigned i;

	for (i = 0; i < d->n_workers; i++) {
		char *text;
		size_t n = access_log_take(d->log[i], &text), at = 0;

		while (at < n && d->log_fd >= 0) {
			ssize_t k = write(d->log_fd, text + at, n - at);

			if (k <= 0)
				break;
			at += (size_t)k;
		}
		free(text);
	}
}

static void flush_due(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	flush_log(ctx);
}

/* --- health ------------------------------------------------------------------------------------------------ */
struct result {
	char pool[EDGE_NAME_LEN];
	struct address address;
	uint16_t port;
	bool up;
};

static void take_result(struct worker *w, void *arg)
{
	struct result *r = arg;
	struct wpool *p = wpool_find(w, r->pool);

	if (p)
		wpool_health(p, &r->address, r->port, r->up);
	free(r);
}

static void checked(void *ctx, const char *pool, const struct address *a, uint16_t port, bool up)
{
	struct l7d *d = ctx;
	unsigned i;

	for (i = 0; i < d->n_workers; i++) {
		struct result *r = calloc(1, sizeof(*r));

		if (!r)
			abort();
		snprintf(r->pool, sizeof(r->pool), "%s", pool);
		r->address = *a;
		r->port = port;
		r->up = up;
		worker_call(d->worker[i], take_result, r);
	}
}

/* --- configuration ------------------------------------------------------------------------------------------ */
static void take_snapshot(struct worker *w, void *arg)
{
	worker_configure(w, arg);
	snapshot_unref(arg);
}

/* The object server starts with the first configuration that has one; its directory and port are for life, the rest
 * follows the configuration. */
static void apply_store(struct l7d *d, const struct store_conf *conf)
{
	unsigned i;
	int err;

	if (d->store) {
		struct store_conf now = *conf;

		if (!conf->enabled || conf->port != d->store_conf.port || strcmp(conf->directory, d->store_conf.directory))
			log_warning("store: another directory or port takes effect when baton-l7d is started again");
		if (!conf->enabled)
			now = d->store_conf;
		err = object_server_reconfigure(d->store, &now);
		if (err)
			log_error("store: %s: %s; it cannot be written to", d->store_conf.directory, strerror(-err));
		return;
	}
	if (!conf->enabled)
		return;
	err = object_server_new(conf, tls_identity_self(d->daemon.tls)->id, &d->store);
	if (err) {
		log_error("store: %s: %s; the object server is off until baton-l7d is started again", conf->directory, strerror(-err));
		return;
	}
	d->store_conf = *conf;
	for (i = 0; i < d->n_workers; i++)
		worker_call(d->worker[i], object_server_attach, d->store);
}

/* --- hand-off ---------------------------------------------------------------------------------------------- */
static void held_came(evutil_socket_t fd, short what, void *ctx)
{
	struct l7d *d = ctx;

	(void)fd;
	(void)what;
	handoff_host_poll(d->handoff);
}

static void held_settles(evutil_socket_t fd, short what, void *ctx)
{
	struct l7d *d = ctx;

	(void)fd;
	(void)what;
	handoff_host_settle(d->handoff);
}

static void held_ages(evutil_socket_t fd, short what, void *ctx)
{
	struct l7d *d = ctx;

	(void)fd;
	(void)what;
	handoff_host_age(d->handoff);
}

/* Like the agent's: BATON_PIN_DIR, or a directory of bpffs; one for each POP and host. */
static void pin_dir_of(const struct pop *pop, const struct host_conf *host, char dir[256])
{
	const char *base = getenv("BATON_PIN_DIR");

	base = base ? base : "/sys/fs/bpf/baton";
	(void)mkdir(base, 0700); /* what fails next names it */
	snprintf(dir, 256, "%s/%s-%s-rows", base, pop->name, host->name);
}

/* Rows, TAP and sessions, with the first configuration that has a `handoff` section, for life; whom rows reach inside IP follows it. */
static void apply_handoff(struct l7d *d, const struct pop *pop)
{
	const struct timeval often = { .tv_usec = 100000 };
	uint16_t self = tls_identity_self(d->daemon.tls)->id;
	const struct host_conf *host = pop_host(pop, self);
	char (*link)[IF_NAMESIZE], dir[256], why[256];
	struct handoff_host_conf conf = { .self = self, .workers = (uint16_t)d->n_workers, .tls_dir = d->daemon.tls_dir, .pin_dir = dir };
	uint32_t i;

	if (d->handoff)
		handoff_host_peers(d->handoff, pop);
	if (!pop->l7.handoff.enabled || d->handoff)
		return;
	if (!host) {
		log_error("hand-off: the certificate in %s is of host %u, which is not in pop.yaml: all is proxied", d->daemon.tls_dir, self);
		return;
	}
	link = calloc(host->n_links + host->n_elsewhere, sizeof(*link));
	if (!link)
		abort();
	for (i = 0; i < host->n_links; i++)
		memcpy(link[i], host->link[i].ifname, IF_NAMESIZE);
	for (i = 0; i < host->n_elsewhere; i++)
		memcpy(link[host->n_links + i], host->elsewhere[i], IF_NAMESIZE);
	conf.link = (const char(*)[IF_NAMESIZE])link;
	conf.n_links = host->n_links + host->n_elsewhere;
	pin_dir_of(pop, host, dir);
	if (handoff_host_open(&conf, &d->handoff, why, sizeof(why))) {
		log_error("%s: all is proxied", why);
	} else {
		d->held = event_new(d->daemon.base, handoff_host_fd(d->handoff), EV_READ | EV_PERSIST, held_came, d);
		d->settling = event_new(d->daemon.base, handoff_host_timer(d->handoff), EV_READ | EV_PERSIST, held_settles, d);
		d->aging = event_new(d->daemon.base, -1, EV_PERSIST, held_ages, d);
		if (!d->held || !d->settling || !d->aging || event_add(d->held, NULL) || event_add(d->settling, NULL) || event_add(d->aging, &often))
			abort();
		privilege_keep(PRIVILEGE_SERVES); /* all is loaded */
		handoff_host_peers(d->handoff, pop);
		for (i = 0; i < d->n_workers; i++)
			worker_call(d->worker[i], handoff_attach, d->handoff);
	}
	free(link);
}

/* Asked only where it would be used: the answer may load a module. */
static void look_for_ktls(const struct pop *pop)
{
	uint32_t i;

	for (i = 0; i < pop->l7.n_edges && pop->l7.store.enabled; i++)
		if (pop->l7.edge[i].tls && pop->l7.edge[i].kernel_tls == KERNEL_TLS_AUTO)
			ktls_look();
}

/* 0, or the reason is in d->alarm and what was in force stays. */
static int install(struct l7d *d, const struct pop *pop, uint64_t index)
{
	struct snapshot *s = snapshot_new(pop, index, tls_identity_self(d->daemon.tls)->id, d->alarm, sizeof(d->alarm));
	unsigned i;

	if (!s) {
		log_error("configuration %llu is not in force: %s", (unsigned long long)index, d->alarm);
		return -EINVAL;
	}
	d->alarm[0] = 0;
	snapshot_unref(d->snapshot);
	d->snapshot = s;
	apply_handoff(d, pop);
	look_for_ktls(pop);
	for (i = 0; i < d->n_workers; i++)
		worker_call(d->worker[i], take_snapshot, snapshot_ref(s));
	l7_checks_set(d->checks, s);
	l7_checks_repeat(d->checks);
	apply_store(d, &s->conf.store);
	open_log(d);
	log_info("configuration %llu in force: %u edges, %u pools", (unsigned long long)index, s->n_edges, s->conf.n_pools);
	return 0;
}

static void take_hosts(struct worker *w, void *arg)
{
	memcpy(w->host, arg, sizeof(w->host));
	free(arg);
	wpools_hosts(w);
}

/* Which hosts' backends are to be spared. */
static void tell_hosts(struct l7d *d, const struct view *v)
{
	unsigned i, id;

	for (i = 0; i < d->n_workers; i++) {
		uint8_t *host = calloc(1, sizeof(d->worker[i]->host));

		if (!host)
			abort();
		for (id = HOST_ID_MIN; id <= HOST_ID_MAX; id++)
			host[id] = v->host_admin[id] != ADMIN_IN	? HOST_DRAINED
				   : v->host_health[id] != HEALTH_UP	? HOST_UNWELL
									: HOST_SERVES;
		worker_call(d->worker[i], take_hosts, host);
	}
}

static void view_changed(void *ctx, const struct view *v, unsigned what)
{
	struct l7d *d = ctx;

	if (what & (VIEW_POP | VIEW_HOSTS))
		tell_hosts(d, v);
	if (what & VIEW_POP && install(d, v->pop, v->index))
		follower_fail(d->follower, v->index, d->alarm);
	else
		follower_ack(d->follower, v->index);
}

static void answer_follower(void *to, json_t *a)
{
	follower_answer(to, a);
}

static void asked(void *ctx, json_t *question, struct follower_question *q)
{
	const char *verb = json_string_value(json_object_get(question, "verb"));

	l7d_ask(ctx, verb ? verb : "", question, answer_follower, q);
}

static void reachable(void *ctx, bool yes)
{
	(void)ctx;
	if (yes)
		log_notice("a controller can be reached");
	else
		log_warning("no controller can be reached: requests are served as last configured");
}

static void answer_ctl(void *to, json_t *a)
{
	ctl_answer(to, a);
}

static void control_asked(void *ctx, const char *verb, json_t *args, struct ctl_request *r)
{
	l7d_ask(ctx, verb, args, answer_ctl, r);
}

static int load_file(struct l7d *d)
{
	struct conf_errors errors = { 0 };
	struct pop *pop = pop_load(d->daemon.config, &errors);

	if (!pop) {
		conf_errors_print(&errors, stderr);
		conf_errors_free(&errors);
		log_error("%s: not taken; what was in force stays", d->daemon.config);
		return -EINVAL;
	}
	pop_free(d->pop);
	d->pop = pop;
	return install(d, pop, d->snapshot ? d->snapshot->index + 1 : 1);
}

/* Certificates are read again, and the log is opened again, also when the text is the same. */
static void reload(struct daemon *daemon)
{
	struct l7d *d = daemon->ctx;
	const struct view *v = d->follower ? follower_view(d->follower) : NULL;

	flush_log(d);
	if (d->standalone)
		load_file(d);
	else if (v)
		install(d, v->pop, v->index);
}

/* --- the end ---------------------------------------------------------------------------------------------- */
static void drain_worker(struct worker *w, void *arg)
{
	(void)arg;
	worker_drain(w);
}

static uint32_t clients_left(struct l7d *d)
{
	uint32_t n = 0;
	unsigned i;

	for (i = 0; i < d->n_workers; i++)
		n += __atomic_load_n(&d->worker[i]->n_clients, __ATOMIC_RELAXED);
	return n;
}

static void drain_look(evutil_socket_t fd, short what, void *ctx)
{
	struct l7d *d = ctx;
	uint32_t left = clients_left(d);

	(void)fd;
	(void)what;
	if (!left || monotonic_ms() >= d->drain_deadline_ms) {
		if (left)
			log_warning("%u connections are cut: the time for draining is over", left);
		event_base_loopexit(d->daemon.base, NULL);
	}
}

/* Listeners close, idle connections end at a request boundary, requests that run are finished. */
static void drain(struct l7d *d, unsigned seconds)
{
	struct timeval every = { .tv_usec = DRAIN_LOOK_MS * 1000 };
	unsigned i;

	for (i = 0; i < d->n_workers; i++)
		worker_call(d->worker[i], drain_worker, NULL);
	d->drain_deadline_ms = monotonic_ms() + seconds * 1000ull;
	d->drained = event_new(d->daemon.base, -1, EV_PERSIST, drain_look, d);
	if (!d->drained || event_add(d->drained, &every))
		return;
	log_notice("draining: %u connections", clients_left(d));
	event_base_dispatch(d->daemon.base);
}

/* --- start -------------------------------------------------------------------------------------------------- */
static unsigned cores(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return (unsigned)CPU_COUNT(&set);
}

static void raise_files(void)
{
	struct rlimit l;

	if (!getrlimit(RLIMIT_NOFILE, &l) && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

/* Our own options out of argv, the others stay for daemon_init. */
static int take_options(struct options *o, int *argc, char **argv)
{
	int i, n = 1;

	for (i = 1; i < *argc; i++) {
		if (!strcmp(argv[i], "--standalone")) {
			o->standalone = true;
		} else if (!strcmp(argv[i], "--workers") && i + 1 < *argc) {
			o->workers = (unsigned)strtoul(argv[++i], NULL, 10);
			if (!o->workers || o->workers > WORKERS_MAX) {
				fprintf(stderr, "baton-l7d: --workers: 1 to %d\n", WORKERS_MAX);
				return 2;
			}
		} else if (!strcmp(argv[i], "--drain") && i + 1 < *argc) {
			o->drain_s = (unsigned)strtoul(argv[++i], NULL, 10);
		} else {
			argv[n++] = argv[i];
		}
	}
	argv[n] = NULL;
	*argc = n;
	return 0;
}

static int start_workers(struct l7d *d, unsigned n)
{
	sigset_t all, old;
	int err = 0;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	while (d->n_workers < n && !err) {
		d->log[d->n_workers] = access_log_new();
		err = d->log[d->n_workers] ? worker_start(d->n_workers, d->log[d->n_workers], &d->worker[d->n_workers]) : -ENOMEM;
		if (!err)
			d->n_workers++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

/* The POP's session ticket keys came. */
static void tickets(void *ctx, const struct ticket_seed *seed)
{
	(void)ctx;
	if (tickets_use_seed(seed))
		log_error("the controller's session ticket keys are not used: its clock and ours are far apart; sessions resume "
			  "only where they began");
}

static int follow(struct l7d *d)
{
	static const struct follower_ops ops = { view_changed, asked, reachable, tickets };
	struct conf_errors errors = { 0 };
	struct pop *boot;
	int err;

	/* With the host's certificate, the controller would take us for the agent come back, and close the agent's session. */
	if (tls_identity_self(d->daemon.tls)->role != ROLE_EDGE) {
		log_error("the certificate in %s is not a front end's; baton pki issue --role edge --id HOST", d->daemon.tls_dir);
		return 1;
	}
	boot = pop_load(d->daemon.config, &errors);

	if (!boot) {
		conf_errors_print(&errors, stderr);
		conf_errors_free(&errors);
		return 1;
	}
	err = follower_new(d->daemon.base, d->daemon.tls, boot, d->daemon.state_dir, &ops, d, &d->follower);
	pop_free(boot);
	return err ? fail("following the controller's log", err) : 0;
}

static int start(struct l7d *d, const struct options *o)
{
	struct timeval flush = { .tv_usec = LOG_FLUSH_MS * 1000 };
	int status, err;

	raise_files();
	err = privilege_keep(PRIVILEGE_LOADS);
	if (err)
		return fail("giving up capabilities", err);
	/* Buffers come and go: memory at the top of the heap is not given back and asked for again each time. */
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	mallopt(M_MMAP_THRESHOLD, 4 << 20);
	err = start_workers(d, o->workers ? o->workers : cores());
	if (err)
		return fail("workers", err);
	d->checks = l7_checks_new(d->daemon.base, checked, d);
	d->flush = event_new(d->daemon.base, -1, EV_PERSIST, flush_due, d);
	if (!d->checks || !d->flush || event_add(d->flush, &flush))
		return fail("start", ENOMEM);
	d->daemon.ctx = d;
	d->daemon.reload = reload;
	if (d->standalone ? load_file(d) != 0 : follow(d) != 0)
		return 1;
	err = ctl_serve(d->daemon.base, d->daemon.socket, control_asked, d, &d->ctl);
	if (err)
		return fail(d->daemon.socket, err);
	status = daemon_metrics(&d->daemon, l7d_collect, d);
	if (status)
		return status;
	err = privilege_confine();
	return err ? fail("the filter of system calls", err) : 0;
}

static void stop(struct l7d *d)
{
	unsigned i;

	ctl_server_free(d->ctl);
	follower_free(d->follower);
	l7_checks_free(d->checks);
	if (d->store)
		object_server_stop(d->store);
	for (i = 0; i < d->n_workers; i++)
		worker_end(d->worker[i]);
	for (i = 0; i < d->n_workers; i++)
		worker_stop(d->worker[i]);
	if (d->held)
		event_free(d->held);
	if (d->settling)
		event_free(d->settling);
	if (d->aging)
		event_free(d->aging);
	handoff_host_close(d->handoff);
	object_server_free(d->store);
	flush_log(d);
	for (i = 0; i < d->n_workers; i++)
		access_log_free(d->log[i]);
	if (d->flush)
		event_free(d->flush);
	if (d->drained)
		event_free(d->drained);
	snapshot_unref(d->snapshot);
	pop_free(d->pop);
	if (d->log_fd >= 0)
		close(d->log_fd);
}

int main(int argc, char **argv)
{
	static struct l7d d = { .log_fd = -1 };
	struct options o = { .drain_s = 60 };
	int status = take_options(&o, &argc, argv);

	if (status)
		return status;
	d.standalone = o.standalone;
	privilege_start();
	status = daemon_init(&d.daemon, "baton-l7d", argc, argv);
	if (status)
		return status < 0 ? 0 : status;
	status = start(&d, &o);
	if (!status) {
		status = daemon_run(&d.daemon);
		if (!status)
			drain(&d, o.drain_s);
	}
	stop(&d);
	daemon_free(&d.daemon);
	return status;
}
