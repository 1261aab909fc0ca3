/* machine.c -- tests of what the machine grants, on made-up control groups and kernel files. */
#include "tests.h"
#include "support/must.h"
#include "base/os_machine.h"
#include <sys/resource.h>

enum { KB = 1024, MB = 1 << 20 };

typedef struct Place {
    Arena *a;
    const char *root;
} Place;

static int place_open(void **state) {
    static Place p;
    p.a = arena_open("machine", 1 << 24);
    p.root = folder_new(p.a);
    *state = &p;
    return 0;
}

static int place_close(void **state) {
    Place *p = *state;
    tree_remove(p->a, p->root);
    arena_close(p->a);
    return 0;
}

/* A file under the root, with its folders. */
static void file(Place *p, const char *name, const char *text) {
    Err err = {0};
    const char *path = str_fmt(p->a, "%s/%s", p->root, name).p;
    char *folder = PUSH(p->a, char, (int64_t)strlen(path) + 1);
    strcpy(folder, path);
    *strrchr(folder, '/') = 0;
    assert_true(os_mkdir(folder, &err));
    OutFile *o = os_create(p->a, path, &err);
    assert_true(o && os_write(o, text, (int64_t)strlen(text), &err) && os_commit(o, &err));
}

static void meminfo(Place *p, int64_t available_kb) {
    file(p, "proc/meminfo",
         str_fmt(p->a,
                 "MemTotal: 16000000 kB\nMemAvailable: %d kB\nCommitLimit: 9000 kB\n"
                 "Committed_AS: 2000 kB\n",
                 (int)available_kb)
             .p);
}

static void group(Place *p, const char *path, const char *max, int64_t used, int64_t cache) {
#define IN(name) str_fmt(p->a, "sys/fs/cgroup%s/" name, path).p
    file(p, IN("memory.max"), max);
    file(p, IN("memory.current"), str_fmt(p->a, "%d\n", (int)used).p);
    file(p, IN("memory.stat"),
         str_fmt(p->a, "anon 5\nfile 7\ninactive_anon 3\ninactive_file %d\nactive_file %d\n",
                 (int)(cache / 4), (int)(cache - cache / 4))
             .p);
}

static void no_container(void **state) {
    Place *p = *state;
    meminfo(p, 500000);
    assert_int_equal(machine_memory_free(p->root), 500000ll * KB);
    file(p, "proc/sys/vm/overcommit_memory", "0\n");
    assert_int_equal(machine_memory_free(p->root), 500000ll * KB);
    file(p, "proc/sys/vm/overcommit_memory", "2\n");
    assert_int_equal(machine_memory_free(p->root), 7000ll * KB);
    assert_int_equal(machine_cpus(p->root, 5), 5);
}

/* The page cache of a group is not in the way: a second run finds what the first one found. */
static void version_2(void **state) {
    Place *p = *state;
    meminfo(p, 500000);
    file(p, "proc/self/cgroup", "0::/a/b\n");
    group(p, "/a/b", "104857600\n", 90 * MB, 0);
    assert_int_equal(machine_memory_free(p->root), 10 * MB);
    group(p, "/a/b", "104857600\n", 90 * MB, 80 * MB);
    assert_int_equal(machine_memory_free(p->root), 90 * MB);
    file(p, "sys/fs/cgroup/a/b/memory.high", "52428800\n");
    assert_int_equal(machine_memory_free(p->root), 40 * MB);
    file(p, "sys/fs/cgroup/a/b/memory.high", "max\n");
    group(p, "/a", "max\n", 300 * MB, 0); /* no limit */
    assert_int_equal(machine_memory_free(p->root), 90 * MB);
    group(p, "/a", "209715200\n", 190 * MB, 4 * MB); /* the outer one leaves less */
    assert_int_equal(machine_memory_free(p->root), 14 * MB);
    group(p, "/a", "209715200\n", 290 * MB, 0); /* overdrawn */
    assert_int_equal(machine_memory_free(p->root), 0);
    group(p, "/a", "max\n", 0, 0);
    group(p, "", "6291456\n", 1 * MB, 0); /* the root of a container's own tree */
    assert_int_equal(machine_memory_free(p->root), 5 * MB);
}

/* One tree a controller; inside a container its root is the group that the path still names. */
static void version_1(void **state) {
    Place *p = *state;
    meminfo(p, 500000);
    file(p, "proc/self/cgroup",
         "12:cpu,cpuacct:/docker/x\n5:memory:/docker/x\n1:name=systemd:/\n0::/\n");
    file(p, "sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n");
    file(p, "sys/fs/cgroup/memory/memory.usage_in_bytes", "60000000\n");
    file(p, "sys/fs/cgroup/memory/memory.stat",
         "cache 9\ninactive_file 1\ntotal_inactive_file 20000000\ntotal_active_file 10000000\n");
    assert_int_equal(machine_memory_free(p->root), 67108864 - 30000000);
    file(p, "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n");
    file(p, "sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes", "60000000\n");
    assert_int_equal(machine_memory_free(p->root), 67108864 - 30000000);
    file(p, "sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us", "250000\n");
    file(p, "sys/fs/cgroup/cpu/docker/cpu.cfs_period_us", "100000\n");
    assert_int_equal(machine_cpus(p->root, 8), 3);
}

static void cpus_nested(void **state) {
    Place *p = *state;
    file(p, "proc/self/cgroup", "0::/a/b/c\n");
    file(p, "sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    assert_int_equal(machine_cpus(p->root, 8), 8);
    file(p, "sys/fs/cgroup/a/cpu.max", "400000 100000\n");
    assert_int_equal(machine_cpus(p->root, 8), 4);
    file(p, "sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
    assert_int_equal(machine_cpus(p->root, 8), 2);
    file(p, "sys/fs/cgroup/a/b/c/cpu.max", "1000 100000\n");
    assert_int_equal(machine_cpus(p->root, 8), 1);
    assert_int_equal(machine_cpus(p->root, 1), 1);
}

/* Damaged files limit nothing and break nothing. */
static void odd_files(void **state) {
    Place *p = *state;
    static const char *const odd[] = {
        "",         "0",         "0:",        "0::",      "::",    "\n\n",          "0::/\n",
        "5:memory", "5:memory:", "0::////\n", "0::/a//b", ":::::", "5:,,memory,:/", "0::/a/\n\n"};
    meminfo(p, 500000);
    for (int64_t i = 0; i < COUNT(odd); i++) {
        file(p, "proc/self/cgroup", odd[i]);
        assert_int_equal(machine_memory_free(p->root), 500000ll * KB);
        assert_int_equal(machine_cpus(p->root, 3), 3);
    }
}

static void limited_child(void *arg) {
    (void)arg;
    int64_t before = os_memory_free();
    struct rlimit l = {0};
    CHECK(before > 64 << 20 && getrlimit(RLIMIT_DATA, &l) == 0);
    l.rlim_cur = 512 << 20;
    CHECK(setrlimit(RLIMIT_DATA, &l) == 0);
    CHECK(os_memory_free() <= 512 << 20);
}

static void under_a_limit(void **state) {
    char said[1024];
    (void)state;
    need_native();
    if (child(limited_child, NULL, said, sizeof said)) fail_msg("%s", said);
}

static void of_this_process(void **state) {
    Place *p = *state;
    int64_t before = os_memory_now();
    Mark mark = arena_mark(p->a);
    memset(arena_push(p->a, 8 * MB), 1, 8 * MB);
    int64_t after = os_memory_now();
    assert_true(before > 0 && after - before > 6 * MB && after <= os_memory_peak());
    arena_pop(p->a, mark);
}

int test_machine(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, place_open, place_close)
    const struct CMUnitTest tests[] = {
        TEST(no_container), TEST(version_2),     TEST(version_1),       TEST(cpus_nested),
        TEST(odd_files),    TEST(under_a_limit), TEST(of_this_process),
    };
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
