/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/roll_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const step_name[] = { [ROLL_DRAIN] = "drain", [ROLL_EXEC] = "exec", [ROLL_FILL] = "fill" };
static const char *const step_time[] = { [ROLL_DRAIN] = "drain_s", [ROLL_EXEC] = "exec_s", [ROLL_FILL] = "fill_s" };

json_t *roll_state_new(json_t *hosts, const char *exec)
{
	return json_pack("{s:s?, s:o, s:i, s:s, s:[]}", "exec", exec, "hosts", hosts, "next", 0, "step",
			 step_name[ROLL_DRAIN], "done");
}

static bool is_state(const json_t *s)
{
	const json_t *hosts = json_object_get(s, "hosts"), *next = json_object_get(s, "next"), *h;
	const char *step = json_string_value(json_object_get(s, "step"));
	size_t i;

	json_array_foreach(hosts, i, h)
		if (!json_is_string(h))
			return false;
	if (!json_is_array(hosts) || !json_is_integer(next) || json_integer_value(next) < 0 ||
	    !json_is_array(json_object_get(s, "done")))
		return false;
	for (i = 0; i < ROLL_STEPS; i++)
		if (step && !strcmp(step, step_name[i]))
			return true;
	return false;
}

json_t *roll_state_load(const char *path, int *err)
{
	json_error_t why;
	json_t *s;

	*err = 0;
	if (access(path, F_OK) && errno == ENOENT)
		return NULL;
	s = json_load_file(path, 0, &why);
	if (s && is_state(s))
		return s;
	json_decref(s);
	*err = access(path, R_OK) ? -errno : -EBADMSG;
	return NULL;
}

int roll_state_save(const char *path, const json_t *state)
{
	char temporary[4096];
	int fd, err = 0;

	if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary))
		return -ENAMETOOLONG;
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (json_dumpfd(state, fd, JSON_INDENT(1)))
		err = -EIO;
	if (!err && fsync(fd))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(temporary, path))
		err = -errno;
	if (err)
		(void)unlink(temporary);
	return err;
}

const char *roll_state_host(const json_t *state)
{
	size_t next = (size_t)json_integer_value(json_object_get(state, "next"));

	return json_string_value(json_array_get(json_object_get(state, "hosts"), next));
}

enum roll_step roll_state_step(const json_t *state)
{
	const char *step = json_string_value(json_object_get(state, "step"));
	int i;

	for (i = 0; i < ROLL_STEPS; i++)
		if (step && !strcmp(step, step_name[i]))
			return (enum roll_step)i;
	return ROLL_DRAIN;
}

const char *roll_state_exec(const json_t *state)
{
	return json_string_value(json_object_get(state, "exec"));
}

void roll_state_advance(json_t *state, double seconds)
{
	json_t *done = json_object_get(state, "done");
	size_t next = (size_t)json_integer_value(json_object_get(state, "next"));
	enum roll_step step = roll_state_step(state);

	if (json_array_size(done) <= next)
		json_array_append_new(done, json_pack("{s:s}", "host", roll_state_host(state)));
	json_object_set_new(json_array_get(done, next), step_time[step], json_real(seconds));
	if (step == ROLL_FILL)
		json_object_set_new(state, "next", json_integer((json_int_t)next + 1));
	json_object_set_new(state, "step", json_string(step_name[step == ROLL_FILL ? ROLL_DRAIN : step + 1]));
}
