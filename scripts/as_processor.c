/* What CPUID tells a program, less than the processor has: see as_processor.

   With CPUID faulting (Intel since Ivy Bridge, and what virtual machines pass on of it) the
   instruction raises a signal, whose handler asks the processor and leaves bits out. It has to be
   asked for in each process, which is why this is preloaded; threads and children inherit it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define BIT(n) (1u << (n))

/* Of leaf 7: AVX-512 in all its parts with what came at its time; and what came later. */
#define AVX512_EBX (BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31))
#define AVX512_ECX (BIT(1) | BIT(6) | BIT(8) | BIT(9) | BIT(10) | BIT(11) | BIT(12) | BIT(14))
#define AVX512_EDX (BIT(2) | BIT(3) | BIT(8))
#define LATER_EDX (BIT(22) | BIT(23) | BIT(24) | BIT(25)) /* AMX, and fp16 */
#define AVX512_BF16 BIT(5) /* of the next part of leaf 7, in EAX */

static struct sigaction wanted; /* by the program itself, for the same signal */
static int (*set_action)(int, const struct sigaction *, struct sigaction *);
static int has_avx512;

static void faulting(int on) { syscall(SYS_arch_prctl, ARCH_SET_CPUID, !on); }

static void answer(greg_t *registers) {
    unsigned leaf = registers[REG_RAX], part = registers[REG_RCX];
    unsigned a = leaf, b, c = part, d;
    faulting(0);
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    faulting(1);
    if (leaf == 7 && part == 0) {
        d &= ~LATER_EDX;
        if (!has_avx512) {
            b &= ~AVX512_EBX;
            c &= ~AVX512_ECX;
            d &= ~AVX512_EDX;
        }
    } else if (leaf == 7) {
        a &= has_avx512 ? AVX512_BF16 : 0;
        b = c = d = 0;
    } else if (leaf == 0x1d || leaf == 0x1e || leaf == 0x24) {
        a = b = c = d = 0; /* of tiles, and AVX10 */
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

static void handle(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)registers[REG_RIP];
    if (info->si_code == SI_KERNEL && at[0] == 0x0f && at[1] == 0xa2) {
        answer(registers);
    } else if (wanted.sa_flags & SA_SIGINFO) {
        wanted.sa_sigaction(number, info, context);
    } else if (wanted.sa_handler != SIG_DFL && wanted.sa_handler != SIG_IGN) {
        wanted.sa_handler(number);
    } else { /* a fault of the program, which ends it when it comes again */
        struct sigaction plain = {.sa_handler = SIG_DFL};
        set_action(SIGSEGV, &plain, NULL);
    }
}

int sigaction(int number, const struct sigaction *to, struct sigaction *from) {
    if (!set_action) set_action = dlsym(RTLD_NEXT, "sigaction");
    if (number != SIGSEGV) return set_action(number, to, from);
    if (from) *from = wanted;
    if (to) wanted = *to;
    return 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *level = getenv("AS_PROCESSOR");
    has_avx512 = level && !strcmp(level, "avx512_bf16");
    if (!set_action) set_action = dlsym(RTLD_NEXT, "sigaction");
    struct sigaction mine = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER};
    set_action(SIGSEGV, &mine, NULL);
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0)) perror("as_processor: CPUID faulting");
}
