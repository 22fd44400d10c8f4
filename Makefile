# SPDX-License-Identifier: Apache-2.0
# Builds, runs, tests and installs mod_comet.  `make help` lists the targets.

.DEFAULT_GOAL := all
MAKEFLAGS += --no-print-directory

# ---- What you may set -------------------------------------------------------
ifeq ($(origin CC),default)
CC = gcc
endif
CFLAGS ?= -O2 -g
APXS   ?= apxs
PREFIX ?= /usr
PORT   ?= 8080
FUZZ_SECONDS ?= 60
MPM    ?= event
SCALE  ?= 1
BUILD   = build

# DESTDIR=…    where `make install` puts its tree
# WERROR=1     warnings are errors (CI)
# FUZZ_SECONDS=60  how long each fuzzer runs
# SCALE=1      `make torture` does this share of its repetitions
# V=1          print each command in full
# SANITIZE=…   asan or tsan; `make asan` and `make tsan` set it for you

# ---- The tree ---------------------------------------------------------------
# mod_comet_pg.so is built if libpq's headers are installed (Debian: libpq-dev).
PG_CONFIG ?= pg_config
PG_INCLUDE := $(shell $(PG_CONFIG) --includedir 2>/dev/null)
HAS_PG := $(wildcard $(PG_INCLUDE)/libpq-fe.h)
PG_UNITS = $(wildcard test/unit/store/pg/test_*.c)

# The core's folders use APR but not httpd; all other folders are glue.
CORE := base shared wire token transport store store/sqlite hub
GLUE := server request output wait dialect hooks
CORE_SRC := $(sort $(wildcard $(CORE:%=mod_comet/%/*.c)))
GLUE_SRC := mod_comet/mod_comet.c $(sort $(wildcard $(GLUE:%=mod_comet/%/*.c)))
# PostgreSQL's engine is a separate module; only it needs libpq.
PG_SRC   := mod_comet/mod_comet_pg.c $(sort $(wildcard mod_comet/store/pg/*.c))
UNIT_SRC := $(filter-out $(if $(HAS_PG),,$(PG_UNITS)), \
              $(sort $(wildcard test/unit/*/test_*.c test/unit/*/*/test_*.c)))
FAULT_SRC := $(sort $(wildcard test/unit/faults*.c))
HELP_SRC := $(filter-out $(UNIT_SRC) $(FAULT_SRC),\
              $(sort $(wildcard test/unit/*.c)))
LOADED_SRC := $(addprefix test/tools/,shim.c mod_forking.c mod_query.c mod_strict.c)
TOOL_SRC := $(filter-out $(LOADED_SRC),$(sort $(wildcard test/tools/*.c)))
LOAD_SRC := $(sort $(wildcard test/bench/load*.c))
FOLLOW_SRC := $(sort $(wildcard test/torture/follow*.c)) \
              $(addprefix test/bench/load_,base.c histogram.c http.c)
SQL      := $(sort $(wildcard sql/[0-9]*.sql))
EXTRAS   := sql/search.sql sql/presence.sql sql/deletions.sql
FORMATTED = $(sort $(shell find mod_comet test -name node_modules -prune \
                              -o -name '*.[ch]' -print))

PG_SQL   := $(sort $(wildcard sql/postgresql/*.sql))

OBJ       = $(BUILD)/obj
CORE_OBJ := $(CORE_SRC:%.c=$(OBJ)/%.o)
GLUE_OBJ := $(GLUE_SRC:%.c=$(OBJ)/%.o)
PG_OBJ   := $(PG_SRC:%.c=$(OBJ)/%.o)
PG_BASE  := $(patsubst %.c,$(OBJ)/%.o,$(wildcard mod_comet/base/*.c))
UNIT_OBJ := $(UNIT_SRC:%.c=$(OBJ)/%.o)
HELP_OBJ := $(HELP_SRC:%.c=$(OBJ)/%.o)
FAULT_OBJ := $(FAULT_SRC:%.c=$(OBJ)/%.o)
TOOL_OBJ := $(TOOL_SRC:%.c=$(OBJ)/%.o)
LOADED_OBJ := $(LOADED_SRC:%.c=$(OBJ)/%.o)
LOAD_OBJ := $(LOAD_SRC:%.c=$(OBJ)/%.o)
FOLLOW_OBJ := $(FOLLOW_SRC:%.c=$(OBJ)/%.o)

MODULE  = $(BUILD)/mod_comet.so
PG_MODULE = $(if $(HAS_PG),$(BUILD)/mod_comet_pg.so)
SCHEMA  = $(BUILD)/gen/comet_schema.h
EXPORTS = $(BUILD)/gen/exports.map
PG_EXPORTS = $(BUILD)/gen/exports_pg.map
UNITS  := $(UNIT_SRC:test/unit/%.c=$(BUILD)/unit/%)
TOOLS  := $(TOOL_SRC:test/tools/%.c=$(BUILD)/tools/%)
LOADED := $(LOADED_SRC:test/tools/%.c=$(BUILD)/tools/%.so)
FOLLOW  = $(BUILD)/tools/follow
OLD     = $(BUILD)/tools/mod_comet_old.so
# Only the sources that use what test/tools/old_httpd.h changes are compiled
# again for the older httpd.  The other object files are the same for both.
OLD_SRC := $(shell grep -lE 'MODULE_MAGIC|AP_MPMQ_|CONN_STATE_' \
             $(GLUE_SRC))
OLD_OBJ := $(patsubst %.c,$(OBJ)/%.o,$(filter-out $(OLD_SRC),$(GLUE_SRC))) \
           $(OLD_SRC:%.c=$(OBJ)/old/%.o)
BENCH   = $(BUILD)/bench
BENCHES = $(BENCH)/load $(BENCH)/floor $(BENCH)/dbfloor $(BENCH)/mod_null.so

# ---- How to compile ---------------------------------------------------------
# $(call ask,NAME,COMMAND) runs COMMAND once, when NAME is first used.  So `make
# help` and `make clean` need no compiler and no apxs.
ask = $(eval $(1) := $(shell { $(2); } 2>/dev/null))$($(1))

INCLUDEDIR = $(call ask,INCLUDEDIR,$(APXS) -q INCLUDEDIR)
LIBEXECDIR = $(call ask,LIBEXECDIR,$(APXS) -q LIBEXECDIR)
SYSCONFDIR = $(call ask,SYSCONFDIR,$(APXS) -q SYSCONFDIR)
APXSFLAGS  = $(call ask,APXSFLAGS,$(APXS) -q EXTRA_CPPFLAGS; \
                 $(APXS) -q CPPFLAGS; $(APXS) -q EXTRA_CFLAGS)
APR_CONFIG = $(call ask,APR_CONFIG,$(APXS) -q APR_CONFIG)
APU_CONFIG = $(call ask,APU_CONFIG,$(APXS) -q APU_CONFIG)
APR_FLAGS  = $(call ask,APR_FLAGS,$(APR_CONFIG) --cppflags --includes; \
                 $(APU_CONFIG) --includes)
# Tokens: signatures by libcjose, claims by jansson, keys in PEM by OpenSSL.
PKG_CONFIG ?= pkg-config
TOKEN_FLAGS = $(call ask,TOKEN_FLAGS,$(PKG_CONFIG) --cflags cjose jansson libcrypto)
TOKEN_LIBS = $(call ask,TOKEN_LIBS,$(PKG_CONFIG) --libs cjose jansson libcrypto)
APR_LIBS   = $(call ask,APR_LIBS,$(APU_CONFIG) --link-ld; \
                 $(APR_CONFIG) --link-ld)

# The headers of httpd and APR are included as system headers, so that they give
# no warnings.  (/usr/include itself must stay where the compiler puts it.)
FOREIGN = $(addprefix -isystem ,$(filter-out /usr/include, \
              $(sort $(INCLUDEDIR) $(patsubst -I%,%,$(filter -I%,$(APR_FLAGS) $(TOKEN_FLAGS))))))
DEFINES = $(sort $(filter -D%,$(APXSFLAGS) $(APR_FLAGS)))

WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion \
    -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings \
    -Wformat=2 -Wundef -Wvla -Wnull-dereference -Wno-unused-parameter \
    $(if $(filter 1,$(WERROR)),-Werror)

asan_FLAGS = -fsanitize=address,undefined -fno-sanitize=object-size
tsan_FLAGS = -fsanitize=thread
fuzz_FLAGS = -fsanitize=fuzzer-no-link,address,undefined \
    -fno-sanitize-recover=undefined
ifneq ($(SANITIZE),)
  ifeq ($($(SANITIZE)_FLAGS),)
    $(error SANITIZE=$(SANITIZE): asan or tsan)
  endif
  SANITIZED = $($(SANITIZE)_FLAGS) -fno-omit-frame-pointer -O1 -g \
      -U_FORTIFY_SOURCE
endif

FLAGS   = -std=gnu11 -fPIC -fstack-protector-strong -pthread $(WARNINGS) \
    $(DEFINES) -Imod_comet -Itest/unit -I$(BUILD)/gen $(FOREIGN) \
    $(CPPFLAGS) $(CFLAGS) $(SANITIZED)
COMPILE = $(CC) $(FLAGS)
# Many programs are linked.  The gold linker takes a third of GNU ld's time.
FAST_LD = $(call ask,FAST_LD,command -v ld.gold >/dev/null && echo -fuse-ld=gold)
LINK    = $(CC) -pthread $(CFLAGS) $(SANITIZED) -Wl,--as-needed \
    -Wl,-z,relro,-z,now $(LDFLAGS)

comma := ,

# Run a sub-make in parallel, unless it inherits a job server from the caller.
PARALLEL = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

export PORT MPM SCALE

# $(call say,WHAT) prints what is made; with V=1 make prints the command instead.
say = @$(if $(V),set -x,printf '%-5s %s\n' $(1) $@);

# ---- Build ------------------------------------------------------------------
.PHONY: all tests unit-programs benches
all: $(MODULE) $(PG_MODULE) ## build build/mod_comet.so, and mod_comet_pg.so (the default)
	@$(if $(HAS_PG),,echo "make: no mod_comet_pg.so, since libpq's headers are" \
	    "missing (Debian: libpq-dev)")

# The programs of `make bench` are not built with a sanitizer, which would slow
# them down.
tests: all unit-programs $(TOOLS) $(LOADED) $(FOLLOW) $(OLD) \
       $(if $(SANITIZE),,$(BENCHES))
unit-programs: $(UNITS)
benches: all $(BENCHES)

$(MODULE): $(CORE_OBJ) $(GLUE_OBJ) $(EXPORTS)
	$(call say,LINK) $(LINK) -shared -Wl,--version-script=$(EXPORTS) -o $@ \
	    $(CORE_OBJ) $(GLUE_OBJ) -lsqlite3 $(TOKEN_LIBS) -lwslay -lpthread

# -z nodelete keeps the module loaded as long as the process lives: one of its
# threads may still be in libpq, waiting for a name server.
$(PG_MODULE): $(PG_OBJ) $(PG_BASE) $(PG_EXPORTS)
	$(call say,LINK) $(LINK) -shared -Wl,-z,nodelete \
	    -Wl,--version-script=$(PG_EXPORTS) -o $@ $(PG_OBJ) $(PG_BASE) -lpq \
	    -lpthread

# The same module, compiled as if for an older httpd.
$(OLD): $(CORE_OBJ) $(OLD_OBJ) $(EXPORTS)
	@mkdir -p $(@D)
	$(call say,LINK) $(LINK) -shared -Wl,--version-script=$(EXPORTS) -o $@ \
	    $(CORE_OBJ) $(OLD_OBJ) -lsqlite3 $(TOKEN_LIBS) -lwslay -lpthread

$(UNITS): $(BUILD)/unit/%: $(OBJ)/test/unit/%.o $(HELP_OBJ) $(CORE_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK) $(LINK) $(if $(SANITIZE),,$(FAST_LD)) -o $@ $^ -lcmocka $(APR_LIBS) $(UNIT_LIBS) -lsqlite3 $(TOKEN_LIBS) -lwslay -lpthread

PG_UNIT_PROGRAMS := $(filter $(BUILD)/unit/store/pg/%,$(UNITS))
$(PG_UNIT_PROGRAMS): $(filter-out %/mod_comet_pg.o,$(PG_OBJ))
$(PG_UNIT_PROGRAMS): private UNIT_LIBS = -lpq
$(filter $(OBJ)/test/unit/store/pg/%,$(UNIT_OBJ)): private COMPILE += -isystem $(PG_INCLUDE)

# In these programs, test/unit/faults.c wraps the functions in WRAPPED.
WRAPPED = malloc calloc realloc free sqlite3_step sqlite3_exec \
    sqlite3_prepare_v2 sqlite3_prepare_v3 sqlite3_open_v2 \
    sqlite3_wal_checkpoint_v2
FAULT_UNITS := $(foreach unit,$(UNITS),$(if $(findstring /test_faults,$(unit)),$(unit)))
$(FAULT_UNITS): $(FAULT_OBJ)
$(FAULT_UNITS): private LINK += $(addprefix -Wl$(comma)--wrap=,$(WRAPPED))

# The fuzzers use libFuzzer, which needs clang; `make fuzz` installs clang.
FUZZERS := $(patsubst test/fuzz/fuzz_%.c,%,$(sort $(wildcard test/fuzz/*.c)))
.PHONY: fuzzers
fuzzers: $(FUZZERS:%=$(BUILD)/fuzz/%)
$(FUZZERS:%=$(BUILD)/fuzz/%): $(BUILD)/fuzz/%: $(OBJ)/test/fuzz/fuzz_%.o \
        $(OBJ)/test/unit/reference.o $(CORE_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK) $(LINK) -fsanitize=fuzzer -o $@ $^ $(APR_LIBS) \
	    -lsqlite3 $(TOKEN_LIBS) -lwslay -lpthread

$(TOOLS): $(BUILD)/tools/%: $(OBJ)/test/tools/%.o
	@mkdir -p $(@D)
	$(call say,LINK) $(LINK) -o $@ $^ $(APR_LIBS) -lsqlite3 -lpthread

# Libraries that tests load into httpd are built without a sanitizer.
$(LOADED) $(LOADED_OBJ): private SANITIZED =
$(LOADED): $(BUILD)/tools/%.so: $(OBJ)/test/tools/%.o
	@mkdir -p $(@D)
	$(call say,LINK) $(LINK) -shared -o $@ $^

# This program runs many clients and checks the messages that they receive.
$(FOLLOW): $(FOLLOW_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK) $(LINK) -o $@ $^ -lm

$(BENCH)/load: $(LOAD_OBJ)
$(BENCH)/floor: $(OBJ)/test/bench/floor.o
$(BENCH)/dbfloor: $(OBJ)/test/bench/dbfloor.o
$(BENCH)/mod_null.so: private LDFLAGS += -shared
$(BENCH)/mod_null.so: $(OBJ)/test/bench/mod_null.o
$(BENCHES):
	@mkdir -p $(@D)
	$(call say,LINK) $(LINK) -o $@ $^ -lsqlite3

$(OBJ)/%.o: %.c $(BUILD)/flags | $(SCHEMA)
	@mkdir -p $(@D)
	$(call say,CC) $(COMPILE) -MMD -MP -c -o $@ $<

$(OBJ)/old/%.o: %.c $(BUILD)/flags test/tools/old_httpd.h | $(SCHEMA)
	@mkdir -p $(@D)
	$(call say,CC) $(COMPILE) -include test/tools/old_httpd.h -MMD -MP -c -o $@ $<

# `make coverage` builds the core without optimisation, and counts which of its
# lines run.
ifeq ($(COVERAGE),1)
$(CORE_OBJ): private COMPILE += -O0 --coverage -fprofile-update=atomic
$(UNITS): private LINK += --coverage
endif

# The core's symbols are hidden.  Those of the glue are hidden by exports.map
# instead: httpd declares comet_module without a visibility, so -fvisibility
# would hide it too.
$(CORE_OBJ): private COMPILE += -fvisibility=hidden
$(PG_OBJ): private COMPILE += -isystem $(PG_INCLUDE)

# Build again when the compiler or its flags change.
$(BUILD)/flags: FORCE
	@command -v $(APXS) >/dev/null || { echo "make: $(APXS) is missing" \
	    "(Debian: apache2-dev); 'conf/setup run' installs all that the" \
	    "build needs" >&2; exit 1; }
	@mkdir -p $(@D)
	@printf '%s\n' '$(COMPILE)' '$(LINK)' >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# Each module exports one symbol.
$(EXPORTS): Makefile
	@mkdir -p $(@D)
	@echo '{ global: comet_module; local: *; };' >$@

$(PG_EXPORTS): Makefile
	@mkdir -p $(@D)
	@echo '{ global: comet_pg_module; local: *; };' >$@

# The migrations as C strings.  A file's number is the version of its schema, and
# the versions must be 1, 2, 3 ….  The files in EXTRAS have no version.
$(SCHEMA): $(SQL) $(EXTRAS) Makefile
	@mkdir -p $(@D)
	@{ set -e; v=0; \
	echo '/* Generated from sql/ by the Makefile. */'; \
	echo 'static const struct {'; \
	echo '    int version;'; \
	echo '    const char *sql;'; \
	echo '} comet_schema[] = {'; \
	for f in $(SQL); do \
	    v=$$((v + 1)); n=$${f##*/}; n=$${n%%[!0-9]*}; \
	    test "$${n#"$${n%%[1-9]*}"}" = $$v || { \
	        echo "make: $$f: version $$v was expected" >&2; exit 1; }; \
	    echo "    {$$v, /* $$f */"; \
	    awk 1 $$f | sed -e 's/[\\"?]/\\&/g' -e 's/.*/     "&\\n"/'; \
	    echo '     ""},'; \
	done; \
	echo '    {0, 0}'; \
	echo '};'; \
	for f in $(EXTRAS); do \
	    n=$${f##*/}; \
	    echo "static const char comet_schema_$${n%.sql}[]" \
	        '__attribute__((unused)) ='; \
	    sed -e 's/[\\"?]/\\&/g' -e 's/.*/    "&\\n"/' $$f; \
	    echo '    "";'; \
	done; } >$@.new
	@mv $@.new $@

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)

# ---- Run --------------------------------------------------------------------
.PHONY: run
run: ## run the demos, the console and the manual on 127.0.0.1:8080 (PORT=, MPM=event|worker|prefork, STORE=sqlite|postgresql)
	@conf/setup run
	@[ '$(STORE)' != postgresql ] || conf/setup postgresql
	@$(MAKE) $(PARALLEL) all
	@APXS='$(APXS)' MODULE='$(MODULE)' STORE='$(STORE)' exec conf/demo run

# ---- Test -------------------------------------------------------------------
.PHONY: check check-long torture unit guards e2e asan tsan memcheck coverage \
    fuzz
check: ## install what the tests need, build, and run them all
	@conf/setup check
	@$(MAKE) $(PARALLEL) tests
	@BUILD='$(BUILD)' test/run check

check-long: ## the long tests, and the suites under ASan+UBSan and TSan
	@conf/setup check
	@conf/setup long
	@$(MAKE) $(PARALLEL) tests
	@$(MAKE) $(PARALLEL) tests BUILD=build-asan SANITIZE=asan
	@$(MAKE) $(PARALLEL) tests BUILD=build-tsan SANITIZE=tsan
	@BUILD='$(BUILD)' test/run long asan tsan

torture: ## faults and hostile input for an hour: a table (SCALE=0.1, ARGS='-k kill')
	@conf/setup check
	@conf/setup fuzz
	@$(MAKE) $(PARALLEL) tests
	@$(MAKE) $(PARALLEL) fuzzers BUILD=build-fuzz CC=clang SANITIZE=fuzz
	@BUILD='$(BUILD)' test/run torture -- $(ARGS)

unit: tests ## the unit tests alone
	@BUILD='$(BUILD)' test/run unit

guards: all ## the source guards alone
	@BUILD='$(BUILD)' test/run guards

e2e: tests ## the end-to-end tests alone (ARGS='-k clock' for some of them)
	@BUILD='$(BUILD)' test/run e2e -- $(ARGS)

asan tsan: ## the unit and end-to-end tests under a sanitizer
	@$(MAKE) $(PARALLEL) tests BUILD=build-$@ SANITIZE=$@
	@test/run $@ -- $(ARGS)

memcheck: ## the same tests under valgrind's memcheck, on the ordinary build
	@conf/setup check
	@conf/setup memcheck
	@$(MAKE) $(PARALLEL) tests
	@BUILD='$(BUILD)' test/run memcheck -- $(ARGS)

# The folder build-fuzz keeps the inputs that the fuzzers have found, and those
# that crash a fuzzer.
fuzz: ## fuzz the encoders and parsers with clang, FUZZ_SECONDS (60) each
	@conf/setup fuzz
	@$(MAKE) $(PARALLEL) fuzzers BUILD=build-fuzz CC=clang SANITIZE=fuzz
	@set -e; for name in $(FUZZERS); do \
	    mkdir -p build-fuzz/found/$$name; \
	    dict=test/fuzz/$$name.dict; test -e $$dict || dict=; \
	    echo "--- fuzz $$name for $(FUZZ_SECONDS) s"; \
	    build-fuzz/fuzz/$$name -max_total_time=$(FUZZ_SECONDS) \
	        -max_len=4096 -timeout=10 -verbosity=0 -print_final_stats=1 \
	        -artifact_prefix=build-fuzz/$$name- $${dict:+-dict=$$dict} \
	        build-fuzz/found/$$name test/fuzz/corpus/$$name; \
	done

coverage: ## the share of the core's lines and branches that the unit tests run
	@conf/setup check
	@$(MAKE) $(PARALLEL) unit-programs BUILD=build-coverage COVERAGE=1
	@find build-coverage -name '*.gcda' -delete
	@BUILD=build-coverage test/run programs
	@test/tools/coverage.py build-coverage $(ARGS)

# ---- Measure ----------------------------------------------------------------
.PHONY: bench
bench: ## measure mod_comet and nchan (BENCH_ROUNDS=, BENCH_ONLY=): a table
	@BUILD='$(BUILD)' conf/setup bench
	@$(MAKE) $(PARALLEL) benches
	@BUILD='$(BUILD)' test/bench/run

# ---- Look over --------------------------------------------------------------
.PHONY: lint format format-check
# Of the foreign headers, cppcheck needs only those that define list macros.
LIST_MACROS = $(shell $(APR_CONFIG) --includedir)/apr_ring.h \
    $(firstword $(wildcard /usr/include/*/sys/queue.h /usr/include/sys/queue.h))
EACH_SOURCE = printf '%s\n' $(CORE_SRC) $(GLUE_SRC) | xargs -P $(shell nproc) -n 4
# clang-tidy counts what its checks find in foreign headers ("12 warnings
# generated"), so its output is shown only if it fails.
TIDY = found=$$(clang-tidy --quiet "$$@" -- $(FLAGS) 2>&1) || { \
    echo "$$found" | grep -v "warnings* generated\.$$"; exit 1; }
lint: $(SCHEMA) ## clang's warnings and lock analysis, clang-tidy, cppcheck
	@conf/setup lint
	@$(EACH_SOURCE) clang $(FLAGS) -Wthread-safety -Werror -fsyntax-only
	@$(EACH_SOURCE) sh -c '$(TIDY)' clang-tidy
	@cppcheck --quiet --std=c11 --enable=warning,performance,portability \
	    --inline-suppr --error-exitcode=1 --suppress=missingInclude \
	    $(addprefix --include=,$(LIST_MACROS)) $(DEFINES) -Imod_comet -I$(BUILD)/gen $(CORE_SRC) $(GLUE_SRC)
	@shellcheck conf/setup conf/demo .ci/run

format: ## lay out the C sources with clang-format 14
	clang-format-14 -i $(FORMATTED)

format-check: ## list the C sources whose layout differs
	clang-format-14 --dry-run -Werror $(FORMATTED)

# ---- Install ----------------------------------------------------------------
.PHONY: install uninstall
MODS = $(DESTDIR)$(SYSCONFDIR)/mods-available
CONFS = $(DESTDIR)$(SYSCONFDIR)/conf-available
MAN = $(DESTDIR)$(PREFIX)/share/man/man7
DATA = $(DESTDIR)/var/lib/apache2/comet
SHARE = $(DESTDIR)$(PREFIX)/share/mod_comet

PAGES = assets chat clock console manual

install: all ## install for the system's Apache (DESTDIR=); then a2enmod comet
	install -d '$(DESTDIR)$(LIBEXECDIR)' '$(MODS)' '$(CONFS)' '$(MAN)' \
	    '$(SHARE)/sql' '$(SHARE)/examples' '$(SHARE)/comet'
	install -m 644 $(MODULE) '$(DESTDIR)$(LIBEXECDIR)/mod_comet.so'
	sed 's|/usr/lib/apache2/modules|$(LIBEXECDIR)|' conf/comet.load \
	    >$(BUILD)/comet.load
	install -m 644 $(BUILD)/comet.load '$(MODS)/comet.load'
	$(if $(HAS_PG),install -m 644 $(PG_MODULE) \
	    '$(DESTDIR)$(LIBEXECDIR)/mod_comet_pg.so')
	$(if $(HAS_PG),sed 's|/usr/lib/apache2/modules|$(LIBEXECDIR)|' \
	    conf/comet_pg.load >$(BUILD)/comet_pg.load)
	$(if $(HAS_PG),install -m 644 $(BUILD)/comet_pg.load \
	    '$(MODS)/comet_pg.load')
	install -m 644 $(SQL) $(EXTRAS) '$(SHARE)/sql'
	install -d '$(SHARE)/sql/postgresql'
	install -m 644 $(PG_SQL) '$(SHARE)/sql/postgresql'
	install -m 644 $(wildcard conf/examples/*) '$(SHARE)/examples'
	install -m 644 $(wildcard htdocs/comet/*) '$(SHARE)/comet'
	install -m 644 conf/tuned.conf '$(SHARE)'
	install -m 644 conf/mod_comet.7 '$(MAN)'
	@# The pages; a2enconf mod-comet-console serves them.
	set -e; for d in . $(PAGES); do \
	    install -d "$(SHARE)/htdocs/$$d"; \
	    for f in htdocs/$$d/*.*; do \
	        install -m 644 "$$f" "$(SHARE)/htdocs/$$d"; done; done
	sed 's|/usr/share/mod_comet|$(PREFIX)/share/mod_comet|' \
	    conf/mod-comet-console.conf >$(BUILD)/mod-comet-console.conf
	install -m 644 $(BUILD)/mod-comet-console.conf \
	    '$(CONFS)/mod-comet-console.conf'
	@# A comet.conf that somebody has changed is kept.
	@if [ ! -e '$(MODS)/comet.conf' ] || \
	    cmp -s conf/comet.conf '$(MODS)/comet.conf'; then \
	    set -x; install -m 644 conf/comet.conf '$(MODS)/comet.conf'; \
	else \
	    echo "kept your $(MODS)/comet.conf; the new one is comet.conf.new"; \
	    set -x; install -m 644 conf/comet.conf '$(MODS)/comet.conf.new'; \
	fi
	@# The server and members of the group comet may write the data.
	@if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then \
	    set -ex; getent group comet >/dev/null || groupadd --system comet; \
	    install -d -o www-data -g comet -m 2770 '$(DATA)'; \
	else \
	    set -x; install -d -m 2770 '$(DATA)'; \
	fi

uninstall: ## remove the installed files; the database stays
	rm -f '$(DESTDIR)$(SYSCONFDIR)/mods-enabled/comet_pg.load' \
	    '$(MODS)/comet_pg.load' \
	    '$(DESTDIR)$(LIBEXECDIR)/mod_comet_pg.so' \
	    '$(DESTDIR)$(SYSCONFDIR)/mods-enabled/comet.load' \
	    '$(DESTDIR)$(SYSCONFDIR)/mods-enabled/comet.conf' \
	    '$(MODS)/comet.load' '$(MODS)/comet.conf.new' \
	    '$(DESTDIR)$(LIBEXECDIR)/mod_comet.so'
	rm -f '$(DESTDIR)$(SYSCONFDIR)/conf-enabled/mod-comet-console.conf' \
	    '$(CONFS)/mod-comet-console.conf' '$(MAN)/mod_comet.7'
	rm -rf '$(SHARE)'
	@if cmp -s conf/comet.conf '$(MODS)/comet.conf'; then \
	    set -x; rm '$(MODS)/comet.conf'; \
	elif [ -e '$(MODS)/comet.conf' ]; then \
	    echo "kept your $(MODS)/comet.conf"; \
	fi
	@echo "kept the data in $(DATA)"
	@# httpd does not start while a file names an unknown directive.
	@named=$$(conf/leftovers '$(DESTDIR)$(SYSCONFDIR)'); \
	if [ -n "$$named" ]; then \
	    echo "these files still name its directives; remove them, or put" \
	        "them into <IfModule comet_module>, before httpd restarts:"; \
	    echo "$$named"; \
	fi

# ---- Release ----------------------------------------------------------------
.PHONY: deb dist npm
VERSION := $(shell sed -n 's/^.define MOD_COMET_VERSION "\(.*\)"/\1/p' \
    mod_comet/server/mod_comet.h)
NAME = mod_comet-$(VERSION)

# dpkg-buildpackage needs a separate tree with debian/ at its top.
DEB = $(BUILD)/deb/mod-comet
deb: ## build Debian packages in build/deb
	@conf/setup deb
	rm -rf $(BUILD)/deb
	mkdir -p $(DEB)
	cp -R mod_comet sql htdocs conf test Makefile README.md CHANGELOG.md \
	    LICENSE $(DEB)
	rm -rf $(DEB)/test/clients/node_modules
	cp -R conf/debian $(DEB)
	conf/debian-changelog >$(DEB)/debian/changelog
	cd $(DEB) && dpkg-buildpackage --build=binary --no-sign
	@ls $(BUILD)/deb/*.deb

# The archive of a commit has the same bytes on any machine and at any time.
dist: ## make the source archive of this commit: build/mod_comet-VERSION.tar.gz
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "make: dist needs a" \
	    "clone: this tree is an archive already" >&2; exit 1; }
	@git diff --quiet HEAD || { echo "make: dist needs a commit: the tree has" \
	    "changes that are in none" >&2; exit 1; }
	@mkdir -p $(BUILD)
	git ls-files -z | LC_ALL=C sort -z >$(BUILD)/dist.files
	tar --create --no-recursion --null --files-from=$(BUILD)/dist.files \
	    --format=ustar --owner=0 --group=0 --numeric-owner \
	    --mode=u=rwX,go=rX --mtime="@$$(git log -1 --format=%ct)" \
	    --transform='flags=r;s|^|$(NAME)/|' --file=$(BUILD)/$(NAME).tar
	gzip -9nf $(BUILD)/$(NAME).tar
	@ls $(BUILD)/$(NAME).tar.gz

npm: ## pack comet.js for npm: build/npm/mod-comet-VERSION.tgz
	rm -rf $(BUILD)/npm
	mkdir -p $(BUILD)/npm/package
	cp $(addprefix htdocs/comet/,package.json README.md comet.js comet.d.ts) \
	    LICENSE $(BUILD)/npm/package
	cd $(BUILD)/npm && npm pack --ignore-scripts ./package
	@ls $(BUILD)/npm/*.tgz

# ---- Clean, help ------------------------------------------------------------
.PHONY: clean distclean help FORCE
clean: ## remove what was built
	rm -rf $(sort $(BUILD) build build-asan build-tsan build-coverage build-fuzz)
	find test \( -name __pycache__ -o -name .pytest_cache \) -prune \
	    -exec rm -rf {} +

distclean: clean ## also remove the demo's private state and its history
	conf/demo remove

help: ## list the targets
	@awk -F ':[^#]*## ' '/^[a-z][a-z0-9 -]*:[^#]*## / { \
	    printf "%-14s %s\n", $$1, $$2 }' Makefile

FORCE:
