/* SPDX-License-Identifier: BSD-2-Clause */
/* Read by cppcheck only (tests/lint), which does not read system headers: what their macros amount to. */
#define LIBBPF_OPTS(TYPE, NAME, ...) struct TYPE NAME = { __VA_ARGS__ }
#define DECLARE_LIBBPF_OPTS(TYPE, NAME, ...) LIBBPF_OPTS(TYPE, NAME, __VA_ARGS__)
#define LIST_HEAD(NAME, TYPE) struct { struct TYPE *lh_first; }
#define TAILQ_HEAD(NAME, TYPE) struct { struct TYPE *tqh_first, **tqh_last; }
#define LIST_ENTRY(TYPE) struct { struct TYPE *le_next, **le_prev; }
#define TAILQ_ENTRY(TYPE) struct { struct TYPE *tqe_next, **tqe_prev; }
#define json_array_foreach(array, i, e) for (i = 0; i < json_array_size(array) && (e = json_array_get(array, i)); i++)
#define json_object_foreach(object, key, e) \
	for (key = json_object_iter_key(json_object_iter(object)); key && (e = json_object_get(object, key)); key = json_next(key))
#define mnl_attr_for_each(attr, nlh, offset) for (attr = mnl_nlmsg_get_payload_offset(nlh, offset); attr; attr = mnl_attr_next(attr))
#define mnl_attr_for_each_nested(attr, nest) for (attr = mnl_attr_get_payload(nest); attr; attr = mnl_attr_next(attr))
#define TAILQ_FOREACH(e, head, field) for (e = (head)->tqh_first; e; e = e->field.tqe_next)
#define LIST_FOREACH(e, head, field) for (e = (head)->lh_first; e; e = e->field.le_next)
