/* A stand-in for OSv: it takes the command line by OSv's grammar, prints what OSv prints, and has one program, /t.
 * No file system can be mounted: --mount-fs and /tools/mount-fs.so tell it in OSv's words.
 *
 * QEMU starts it by its PVH note (xen/include/public/arch-x86/hvm/start_info.h), or boot.S does from a disk. It drives
 * the serial port, and of ACPI the power button and the soft off, at the ports where SeaBIOS puts them.
 */
#include <stddef.h>
#include <stdint.h>

enum { SERIAL = 0x3f8, PM_STATUS = 0x600, PM_ENABLE = 0x602, PM_CONTROL = 0x604, POWER_BUTTON = 0x100, SOFT_OFF = 0x2000 };
enum { LINE = 32256, WORDS = 64, VARIABLES = 64, MOUNTS = 64 };

extern void start(void);
__asm__(
    ".pushsection .note.Xen, \"a\", @note\n"
    ".long 4, 8, 18, 0x006e6558, start, 0\n" /* XEN_ELFNOTE_PHYS32_ENTRY, of the owner "Xen" */
    ".long 4, 4, 6, 0x006e6558, 0x0076736f\n" /* XEN_ELFNOTE_GUEST_OS: "osv" */
    ".popsection\n"
    ".pushsection .entry, \"ax\"\n.globl start\nstart:\n"
    "cli\n cld\n movl $stack_end, %esp\n pushl %ebx\n"
    "movl $bss_begin, %edi\n movl $bss_end, %ecx\n subl %edi, %ecx\n xorl %eax, %eax\n rep stosb\n"
    "call kernel\n"
    ".popsection\n"
    ".pushsection .stack, \"aw\", @nobits\n.space 16384\nstack_end:\n.popsection\n");

static char line[LINE], words_text[2 * LINE], *names[VARIABLES], *mounts[MOUNTS][3];
static int variables, mount_count, verbose, off_on_abort;

static void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static void out16(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }

static uint8_t in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static uint16_t in16(uint16_t port) {
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void put(char c) {
    if (c == '\n') put('\r');
    while (!(in8(SERIAL + 5) & 0x20)) {
    }
    out8(SERIAL, (uint8_t)c);
}

static void print(const char *text) {
    while (*text) put(*text++);
}

static void print3(const char *before, const char *text, const char *after) {
    print(before), print(text), print(after);
}

static void print_number(int value) {
    char digits[12], *at = digits + 11;
    unsigned rest = value < 0 ? -(unsigned)value : (unsigned)value;
    *at = 0;
    do *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0) *--at = '-';
    print(at);
}

static int number(const char *text) {
    int minus = *text == '-', value = 0;
    for (text += minus; *text >= '0' && *text <= '9'; text++) value = 10 * value + *text - '0';
    return minus ? -value : value;
}

static int same(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

/* What of `text` stands after `prefix`, or NULL. */
static char *after(char *text, const char *prefix) {
    while (*prefix && *text == *prefix) text++, prefix++;
    return *prefix ? NULL : text;
}

static _Noreturn void off(void) {
    out16(PM_CONTROL, SOFT_OFF);
    for (;;) __asm__ volatile("hlt");
}

static _Noreturn void shut_down(void) {
    print("VFS: unmounting /dev\nVFS: unmounting /proc\nVFS: unmounting /\nPowering off.\n");
    off();
}

static _Noreturn void give_up(const char *why, const char *what, const char *end) {
    print3(why, what, end);
    off();
}

static uint8_t second(void) {
    out8(0x70, 0);
    return in8(0x71);
}

/* Let so many changes of the clock's second pass; the power button ends the guest as it does OSv. */
static void sleep(int seconds) {
    for (uint8_t now = second(), next; seconds > 0;) {
        if (in16(PM_STATUS) & POWER_BUTTON) shut_down();
        if ((next = second()) != now) now = next, seconds--;
    }
}

static const char *variable(const char *name) {
    for (int i = variables; i-- > 0;) {
        const char *text = names[i], *wanted = name;
        while (*wanted && *text == *wanted) text++, wanted++;
        if (!*wanted && *text == '=') return text + 1;
    }
    return "";
}

/* --- the program ------------------------------------------------------------------------------------------------- */

static _Noreturn void end(int status) {
    if (verbose) print("program exited with status "), print_number(status), print("\n");
    shut_down();
}

static _Noreturn void crash(void) {
    print("Aborted\n\n[backtrace]\n0x0000100000001a79 <???+6777>\n");
    if (off_on_abort) off();
    for (;;) __asm__ volatile("hlt");
}

/* Return what main returns. The power button is heard while it sleeps, and not while it hangs. */
static int program(int count, char **words) {
    for (int i = 0; i < count; i++) print("argv["), print_number(i), print3("]=<", words[i], ">\n");
    for (int i = 1; i < count; i++) {
        const char *next = i + 1 < count ? words[i + 1] : "";
        if (same(words[i], "exit")) print3("EXITING ", next, "\n"), end(number(next));
        if (same(words[i], "ret")) return print3("RETURNING ", next, "\n"), number(next);
        if (same(words[i], "abort")) print("ABORTING\n"), crash();
        if (same(words[i], "kill")) give_up("Uncaught signal ", next, " (\"Signal\"). Powering off.\n");
        if (same(words[i], "sleep")) print3("SLEEP ", next, "\n"), sleep(number(next));
        if (same(words[i], "hang")) for (print("HANGING\n");;) second();
        if (same(words[i], "fork")) print("fork() stubbed\nFORK -1 No error information\n");
        if (same(words[i], "say")) print(next); /* without a newline */
        if (same(words[i], "lines")) for (int n = number(next); n-- > 0;) print_number(n), print(": 0123456789abcdef0123456789abcdef0123456789abcdef\n");
        if (same(words[i], "env")) for (int n = 0; n < variables; n++) print3("ENV ", names[n], "\n");
    }
    print("DONE\n");
    return 0;
}

static void print_mount(const char *kind, const char *where) {
    print3("VFS: mounting ", kind, " at "), print3(where, "\n", "");
}

/* /tools/mount-fs.so, as tools/mount/mount-fs.cc */
static int mount_program(int count, char **words) {
    if (count != 4) return print3("Usage:\n\t", words[0], " nfs nfs://server/path /mount_point\n"), 1;
    print_mount(words[1], words[3]);
    print("Error in mount(): Operation not permitted(1)\n");
    return 1;
}

static void run(int count, char **words) {
    int by_tool = same(words[0], "/tools/mount-fs.so");
    if (!by_tool && !same(words[0], "/t")) give_up("Failed to load object: ", words[0], ". Powering off.\n");
    int returned = by_tool ? mount_program(count, words) : program(count, words);
    if (returned && verbose) print3("program ", words[0], " returned "), print_number(returned), print("\n");
}

/* --- the command line: loader.cc, core/options.cc, core/commands.cc ------------------------------------------------- */

static const char USAGE[] = "\nOSv options:\n  --help                show help text\n";

static void set_variable(char *text) { names[variables++ % VARIABLES] = text; }

/* `KIND,URL,PATH`, to be mounted when the root is. */
static void take_mount(char *value) {
    char **found = mounts[mount_count % MOUNTS];
    int commas = 0;
    for (char *c = value; *c; c++) commas += *c == ',';
    if (commas != 2) {
        print3("Ignoring value: '", value, "' for option mount-fs, expected in format: <fs_type,url,path>\n");
        return;
    }
    for (int part = 0; part < 3; part++) {
        found[part] = value;
        while (*value && *value != ',') value++;
        *value++ = 0;
    }
    mount_count++;
}

/* As mount_fs() of fs/vfs/main.cc: of a mount that failed the kind is told. */
static void mount_all(void) {
    for (int i = 0; i < mount_count && i < MOUNTS; i++) {
        char *kind = mounts[i][0], *where = mounts[i][2];
        print3("created missing mount point ", where, "\n"), print_mount(kind, where);
        print3("failed to mount ", kind, ", error = Operation not permitted\n");
    }
}

static void option(char *text) {
    static const char *const known[] = {"--rootfs=", "--nomount", "--nopivot", "--noinit", "--cwd=", "--ip=", "--console=", "--defaultgw=", "--nameserver=", "--norandom"};
    char *value;
    if (!after(text, "--")) give_up("not an option: ", text, USAGE);
    if (same(text, "--verbose")) verbose = 1;
    else if (same(text, "--power-off-on-abort")) off_on_abort = 1;
    else if ((value = after(text, "--env="))) {
        if (verbose) print3("Setting in environment: ", value, "\n");
        set_variable(value);
    } else if ((value = after(text, "--mount-fs="))) take_mount(value);
    else {
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (after(text, known[i])) return;
        give_up("unrecognized option: ", text + 2, USAGE);
    }
}

static int blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

/* The leading words that begin with `-`: a backslash takes the next character as it is. Return what stands after. */
static char *options(char *at) {
    for (;;) {
        while (blank(*at)) at++;
        if (*at != '-') return at;
        char *text = at, *to = at;
        for (; *at && !blank(*at); at++) {
            if (*at == '\\' && at[1]) at++;
            *to++ = *at;
        }
        at += *at != 0;
        *to = 0;
        option(text);
    }
}

static char escaped(char c) {
    const char *found = "a\ab\bf\fn\nr\rt\tv\v\\\\''\"\"";
    for (; *found; found += 2)
        if (*found == c) return found[1];
    return 0;
}

/* One word, from `*at` to `*to`; everything after its first `$` is the name of a variable. */
static char *word(char **at, char **to) {
    char *text = *to, quote = **at == '"';
    *at += quote;
    for (; **at && (quote ? **at != '"' : **at != ' ' && **at != ';' && **at != '&' && **at != '!'); ++*at) {
        char real = **at == '\\' ? escaped((*at)[1]) : 0;
        if (real) ++*at;
        *(*to)++ = real ? real : **at;
    }
    *at += quote && **at;
    *(*to)++ = 0;
    char *dollar = text;
    while (*dollar && *dollar != '$') dollar++;
    if (!*dollar) return text;
    const char *value = variable(dollar + 1);
    for (*to = dollar; *value;) *(*to)++ = *value++;
    *(*to)++ = 0;
    return text;
}

static void commands(char *at) {
    for (char *c = at; *c; c++)
        if (*c & 0x80) give_up("Failed to parse command line.\n", "", "");
    if (!*at) give_up("This image has an empty command line. Nothing to run.\n", "", "");
    while (*at) {
        char *words[WORDS], *to = words_text;
        int count = 0;
        for (;;) {
            while (*at == ' ') at++;
            if (!*at || *at == ';' || *at == '&' || *at == '!' || count == WORDS) break;
            words[count++] = word(&at, &to);
        }
        while (*at == ';' || *at == '&' || *at == '!') at++;
        if (!count) break;
        run(count, words);
    }
}

__attribute__((used)) static _Noreturn void kernel(const uint32_t *start_info) {
    const char *given = start_info ? (const char *)start_info[6] : (const char *)0x7e00; /* boot.S */
    for (size_t i = 0; i + 1 < LINE && given[i]; i++) line[i] = given[i];
    out16(PM_STATUS, POWER_BUTTON);
    out16(PM_ENABLE, POWER_BUTTON);
    print("OSv v0.57-stand-in\n1 CPUs detected\nFirmware vendor: SeaBIOS\n");
    char *program_line = options(line);
    set_variable("OSV_VERSION=v0.57-stand-in"), set_variable("OSV_CPUS=1");
    print("NUMA: no SRAT, assuming a single flat node\nbsd: initializing - done\nVFS: mounting ramfs at /\n");
    print("VFS: mounting devfs at /dev\nnet: initializing - done\n");
    print("Warning: No hardware source of entropy available to your platform,\n");
    print("\tCSPRNG will rely on software source of entropy to provide high-quality randomness.\n");
    print("random: <Software, Yarrow> initialized\nVFS: unmounting /dev\n");
    print("failed to pivot root, error = Invalid argument\n");
    print_mount("devfs", "/dev"), print_mount("procfs", "/proc"), print_mount("sysfs", "/sys"), mount_all();
    print3("Booted up in 0.00 ms\nCmdline: ", program_line, "\n");
    commands(program_line);
    shut_down();
}
