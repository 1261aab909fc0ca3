# Makefile -- builds Lisao. `make help` lists the targets and the variables.
#
# One static library for each module ($B/libMODULE.a from src/MODULE/**/*.c), one program ($B/lisao), one test program for
# each folder of tests/ ($B/tests/MODULE). The flags follow the folder: only src/kern/<isa>/ is compiled beyond the
# baseline of the architecture. The file `layers` says which module may include which.

VERSION = 0.1.0
CC      = gcc
CLANG   = clang-14
OPT     = -O2
SAN     =
T       = 60
V       =
PREFIX  = /usr/local
comma  := ,
B       = build$(if $(SAN),-$(subst $(comma),-,$(SAN)))

ARCH   := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
MODULES  := $(shell sed -n 's/^\([a-z]*\):.*/\1/p' layers)
BUILT  := $(foreach r,$(MODULES),$(if $(shell find src/$r -name '*.c' 2>/dev/null | head -n 1),$r))

# ---- flags ------------------------------------------------------------------------------------------------

# Library NAME's flags: pkg-config where it knows the library, else the plain -l.
pkg_cflags = $(shell pkg-config --cflags $1 2>/dev/null)
pkg_libs   = $(or $(shell pkg-config --libs $1 2>/dev/null),-l$(patsubst lib%,%,$1))
DEPS       = jansson libpcre2-8 libutf8proc libcyaml libedit libcurl libarchive libmicrohttpd libsodium sqlite3 libseccomp libxml-2.0
LIBS      := $(foreach d,$(DEPS) gnutls,$(call pkg_libs,$d)) -lm
TEST_LIBS := $(call pkg_libs,cmocka)

SANITIZE = $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
CFLAGS  := -std=c17 -ffp-contract=off -fno-math-errno -fno-strict-aliasing -g -Wall -Wextra -Wshadow -Wstrict-prototypes -pthread \
           -Isrc -I$B/include $(foreach d,$(DEPS),$(call pkg_cflags,$d))
LDFLAGS  = -pthread -Wl,--as-needed

AVX2   = -mavx2 -mfma -mf16c -mbmi2
AVX512 = $(AVX2) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16 \
         -mprefer-vector-width=512
AMX    = $(AVX512) -mamx-tile -mamx-bf16 -mamx-int8 -mprfchw
isa_avx2    = $(AVX2)
isa_avx512  = $(AVX512)
isa_amx     = $(AMX)
isa_amx_emu = $(AVX512)
# $(call isa,src/kern/avx2/x.c) = the flags of its folder
isa = $(if $(filter src/kern/%,$1),$(isa_$(patsubst src/kern/%/,%,$(dir $1))))
# What reads no file is not fuzzed: clang takes many minutes to instrument the unrolled kernels.
unwatched = $(if $(filter $(ISA_X86),$1),-fno-sanitize=all)
ISA_X86 = src/kern/avx2/% src/kern/avx512/% src/kern/amx/% src/kern/amx_emu/%

Q       = $(if $V,,@)
COMPILE = $(CC) $(OPT) $(CFLAGS) $(SANITIZE) -MMD -MP

# ---- what there is ------------------------------------------------------------------------------------------

# $(call sources,MODULE): its C files; those of another architecture are left out.
sources = $(filter-out $(if $(filter x86_64,$(ARCH)),,$(ISA_X86)),$(sort $(shell find src/$1 -name '*.c' 2>/dev/null)))
objects = $(patsubst %.c,$B/obj/%.o,$1)

NOT_MODULE_TESTS = fuzz golden support
TESTS  := $(filter-out $(NOT_MODULE_TESTS),$(patsubst tests/%/,%,$(sort $(dir $(wildcard tests/*/*.c)))))
FUZZ   := $(patsubst tests/fuzz/%.c,%,$(filter-out tests/fuzz/replay.c,$(wildcard tests/fuzz/*.c)))
BENCH  := $(patsubst bench/%.c,%,$(wildcard bench/*.c))
TEST_SH := $(wildcard tests/*/*.sh)
TEST_BINS  = $(TESTS:%=$B/tests/%) $(FUZZ:%=$B/tests/fuzz_%)
BENCH_BINS = $(BENCH:%=$B/bench/%)

# $(call below,MODULE): the module, what it may include, and what these stand on; `all but cli` for other names.
may_see = $(shell sed -n 's/^$1: *//p' layers)
below1  = $(sort $(foreach r,$1,$r $(call may_see,$r)))
below   = $(if $(filter $1,$(MODULES)),$(call below1,$(call below1,$1)),$(filter-out cli,$(MODULES)))
libs_of = $(patsubst %,$B/lib%.a,$(filter $(BUILT),$(call below,$1)))
SUPPORT = $(if $(wildcard tests/support/*.c),$B/libsupport.a)
group   = -Wl,--start-group $1 -Wl,--end-group

# ---- targets ------------------------------------------------------------------------------------------------

all: $B/lisao

help:
	@echo 'make            builds $$B/lisao'
	@echo 'make test       builds and runs every test; the last line is "N passed, N failed"'
	@echo 'make test-quick the same without the slow groups: under a minute'
	@echo 'make test-peers runs Lisao beside transformers, tokenizers, jinja2 and llama.cpp (some GB from the Python'
	@echo '                package index, the first time); ONLY="PART WORD": a part of it (tools/test-peers.sh)'
	@echo 'make test-clients runs the clients of OpenAI, Anthropic, Vercel and LangChain against lisao serve (400 MB), then'
	@echo '                its answers against /openapi.json, its bits, faults, masses of clients and a soak;'
	@echo '                ONLY=PART: one of them (tools/test-clients.sh)'
	@echo 'make test-web   the page of lisao serve in Chromium, and that web/dist is what web/ builds (100 MB, the first time)'
	@echo 'make web        builds web/dist from web/ (Node; first: npm ci --ignore-scripts in web/)'
	@echo 'make lint       include rules, public headers, sizes, layout; no AVX-512 outside its folders'
	@echo 'make bench      builds and runs bench/*.c: one CSV row for each measurement'
	@echo 'make fuzz       runs every fuzz target for T seconds (T=$(T)) under clang, ASan and UBSan'
	@echo 'make mutations  inserts 43 defects, one at a time; the tests must find each (docs/mutations.md)'
	@echo 'make valgrind   short runs under memcheck'
	@echo 'make golden     writes the golden hashes anew (say why in docs/decisions/); ONLY=NAME: of models so named'
	@echo 'make format     lays all code out by clang-format 14'
	@echo 'make man        writes $$B/lisao.1'
	@echo 'make install    copies program, man page, recipes and models under DESTDIR/PREFIX (PREFIX=$(PREFIX)); uninstall'
	@echo 'make deb        builds $$B/lisao_VERSION_ARCH.deb, a Debian package with the service (docs/deploy.md)'
	@echo 'make clean      removes $$B'
	@echo
	@echo 'Variables: CC=gcc|clang-14  OPT=-O2  SAN=address,undefined  B=build (the folder that is built into)'
	@echo '           V=1 shows the commands'
	@echo 'One module alone: make $$B/libMODULE.a $$B/tests/MODULE, MODULE one of: $(MODULES)'

tests: $(TEST_BINS)

test: all $(TEST_BINS)
	@LISAO_TEST_FULL=1 tools/test.sh $B $(TEST_BINS) $(TEST_SH)

test-quick: all $(TEST_BINS)
	@tools/test.sh $B $(TEST_BINS) $(TEST_SH)

# Beside other programs; ONLY="PART WORD": a part of it.
test-peers: all
	@tools/test-peers.sh $B $(ONLY)

test-clients: all
	@tools/test-clients.sh $B $(ONLY)

# The page of the service. `make web` builds web/dist anew, where Node and the packages of web/ are (npm ci in web/).
test-web: all
	@tools/test-web.sh $B $(ONLY)

web:
	@cd web && npm run --silent build

lint: all
	@tools/lint.sh $B

bench: all $(BENCH_BINS)
	@for b in $(BENCH_BINS); do $$b || exit 1; done

mutations:
	@tools/mutations.sh

# Short runs of every form of weights under memcheck, which knows no flush to zero: subnormals may give other bits.
VALGRIND = valgrind -q --error-exitcode=1 --leak-check=full --errors-for-leak-kinds=definite
valgrind:
	@$(MAKE) --no-print-directory B=$B/valgrind OPT='-O1 -DVALGRIND' all
	@for m in models/llama-tiny models/deepseek-v3-tiny models/qwen3-moe-tiny $(patsubst tests/golden/%,%,$(wildcard tests/golden/gguf/*.gguf)); do \
		echo "valgrind $$m"; \
		$(VALGRIND) $B/valgrind/lisao logits tests/golden/$$m --ids 1,2,3,4,5,6,7,8,9 --threads 2 -o $B/valgrind/logits.npy || exit 1; \
	done

golden: $B/tests/prop
	$B/tests/prop --golden $(ONLY)

format:
	@tools/format.sh

man: $B/lisao.1
$B/lisao.1: $B/lisao
	$B/lisao --man > $@.new && mv $@.new $@

INTO     = $(DESTDIR)$(PREFIX)
SHIPPED := $(patsubst models/%,%,$(wildcard models/*/*.gguf models/*/README.md))
RECIPES := $(notdir $(wildcard recipes/*.yaml recipes/*.json recipes/*.md))

install: all $B/lisao.1
	@$(MAKE) --no-print-directory install-files

# Copies what is built, and builds nothing.
install-files:
	install -D -m 755 $B/lisao $(INTO)/bin/lisao
	install -D -m 644 $B/lisao.1 $(INTO)/share/man/man1/lisao.1
	install -d $(INTO)/share/lisao/recipes
	install -m 644 $(RECIPES:%=recipes/%) $(INTO)/share/lisao/recipes
	for f in $(SHIPPED); do install -D -m 644 models/$$f $(INTO)/share/lisao/models/$$f; done

# A Debian package; runs no part of it.
deb: all $B/lisao.1
	@tools/deb.sh $B $(VERSION)

uninstall:
	rm -f $(INTO)/bin/lisao $(INTO)/share/man/man1/lisao.1 $(RECIPES:%=$(INTO)/share/lisao/recipes/%)
	rm -f $(SHIPPED:%=$(INTO)/share/lisao/models/%)
	for d in $(addprefix $(INTO)/share/lisao/,recipes $(addprefix models/,$(sort $(dir $(SHIPPED)))) models) $(INTO)/share/lisao; do \
	    [ ! -d $$d ] || rmdir --ignore-fail-on-non-empty $$d; done

clean:
	rm -rf $B

# ---- fuzzing: everything once more, by clang, with coverage counters ----------------------------------------

fuzz:
	@$(MAKE) --no-print-directory B=$B/fuzz CC=$(CLANG) SAN=fuzzer-no-link,address,undefined OPT=-O1 T=$(T) fuzz-run

fuzz-run: $(FUZZ:%=$B/fuzz_%)
	@for f in $(FUZZ); do \
	    mkdir -p $B/corpus/$$f; seeds=; test -d tests/fuzz/corpus/$$f && seeds=tests/fuzz/corpus/$$f; \
	    echo "== $$f, $(T) s"; \
	    $B/fuzz_$$f -max_total_time=$(T) -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 \
	        -artifact_prefix=$B/$$f- $B/corpus/$$f $$seeds > $B/$$f.log 2>&1 \
	        || { tail -n 40 $B/$$f.log; exit 1; }; \
	    grep -E 'number_of_executed_units|new_units_added|peak_rss' $B/$$f.log; \
	done

$B/fuzz_%: $B/obj/tests/fuzz/%.o $(call libs_of,cli) $(SUPPORT)
	@echo 'ld  $@'
	$Q$(CC) $(LDFLAGS) -fsanitize=fuzzer,address,undefined -o $@ $< $(call group,$(filter %.a,$^)) $(LIBS)

# ---- rules ----------------------------------------------------------------------------------------------------

# Two files that are written, when they would change, while this file is read (so `make -q` stays truthful).
# $B/flags: compiler and flags; every object depends on it. gen/commit.h: the commit for --version, with "+"
# where the sources have uncommitted changes.
keep = mkdir -p $(dir $1) && printf '%b' '$(subst ','\'',$2)' | cmp -s - $1 || printf '%b' '$(subst ','\'',$2)' > $1
ifneq ($(filter-out help clean format mutations web install-files uninstall,$(or $(MAKECMDGOALS),all)),)
COMMIT := $(shell c=$$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown); \
                  git diff --quiet HEAD -- src Makefile 2>/dev/null || c=$$c+; echo $$c)
COMMIT_H = \#define LISAO_VERSION "$(VERSION)"\n\#define LISAO_COMMIT "$(COMMIT)"\n
$(shell $(call keep,$B/flags,$(CC) $(OPT) $(CFLAGS) $(SANITIZE) $(AMX)))
$(shell $(call keep,$B/include/gen/commit.h,$(COMMIT_H)))
endif

$B/obj/src/%.o: src/%.c $B/flags
	@mkdir -p $(@D)
	@echo 'cc  $<'
	$Q$(COMPILE) $(call isa,$<) $(if $(findstring fuzzer,$(SAN)),$(call unwatched,$<)) -c -o $@ $<

$B/obj/tests/%.o: tests/%.c $B/flags
	@mkdir -p $(@D)
	@echo 'cc  $<'
	$Q$(COMPILE) -Itests -c -o $@ $<

$B/obj/bench/%.o: bench/%.c $B/flags
	@mkdir -p $(@D)
	@echo 'cc  $<'
	$Q$(COMPILE) -c -o $@ $<

# The page of `lisao report` as a string of C.
$B/include/gen/report.h: src/cli/report.html
	@mkdir -p $(@D)
	$Qsed 's/\\/\\\\/g; s/"/\\"/g; s/.*/"&\\n"/' $< > $@.new && mv $@.new $@
$B/obj/src/cli/report_page.o: $B/include/gen/report.h

# The page of `lisao serve`, as it is and by gzip, as strings of bytes, and its policy (web/dist, built by `make web`).
bytes = od -An -v -tx1 | sed 's/ /\\x/g; s/.*/"&"/'
$B/include/gen/page_policy.h: web/dist/page.html web/dist/page.csp
	@mkdir -p $(@D)
	$Qcat web/dist/page.html | $(bytes) > $(@D)/page_plain.h
	$Qgzip -9nc web/dist/page.html | $(bytes) > $(@D)/page_gzip.h
	$Q{ sed 's/.*/#define PAGE_POLICY "&"/' web/dist/page.csp; \
	    sha256sum web/dist/page.html | sed 's/^\(.\{32\}\).*/#define PAGE_TAG "\1"/'; } > $@.new && mv $@.new $@
$B/obj/src/serve/page.o: $B/include/gen/page_policy.h

# A library is made anew so that no object of a file that is gone stays in it.
define module_rule
$B/lib$1.a: $(call objects,$(call sources,$1))
	@rm -f $$@; ar rcs $$@ $$^
endef
$(foreach r,$(BUILT),$(eval $(call module_rule,$r)))

$B/libsupport.a: $(call objects,$(sort $(wildcard tests/support/*.c)))
	@rm -f $@; ar rcs $@ $^

$B/lisao: $(BUILT:%=$B/lib%.a)
	@echo 'ld  $@'
	$Q$(CC) $(LDFLAGS) $(SANITIZE) -o $@ $(call objects,$(call sources,cli)) \
	    $(call group,$(patsubst %,$B/lib%.a,$(filter-out cli,$(BUILT)))) $(LIBS)

# The program of tests/X sees the modules that X may see, and tests/support.
define test_rule
$B/tests/$1: $(call objects,$(sort $(wildcard tests/$1/*.c))) $(call libs_of,$1) $(SUPPORT)
	@mkdir -p $$(@D)
	@echo 'ld  $$@'
	$$Q$$(CC) $$(LDFLAGS) $$(SANITIZE) -o $$@ $$(filter %.o,$$^) $$(call group,$$(filter %.a,$$^)) \
	    $$(TEST_LIBS) $$(LIBS)
endef
$(foreach t,$(TESTS),$(eval $(call test_rule,$t)))

$B/tests/fuzz_%: $B/obj/tests/fuzz/%.o $B/obj/tests/fuzz/replay.o $(call libs_of,cli) $(SUPPORT)
	@mkdir -p $(@D)
	@echo 'ld  $@'
	$Q$(CC) $(LDFLAGS) $(SANITIZE) -o $@ $(filter %.o,$^) $(call group,$(filter %.a,$^)) $(TEST_LIBS) $(LIBS)

$B/bench/%: $B/obj/bench/%.o $(call libs_of,any)
	@mkdir -p $(@D)
	@echo 'ld  $@'
	$Q$(CC) $(LDFLAGS) $(SANITIZE) -o $@ $< $(call group,$(filter %.a,$^)) $(LIBS)

.PHONY: all help tests test test-quick test-peers test-clients test-web web lint bench mutations valgrind golden format man install install-files deb uninstall clean \
        fuzz fuzz-run
.SECONDARY:
-include $(shell find $B/obj -name '*.d' 2>/dev/null)
