// Corrects the trap numbers that qemu-i386 gives to signal handlers, for a 32-bit Wine in qemu's emulation. get-wine.sh
// builds it with gcc -m32 -nostdlib, so it uses no headers.
//
// Wine's handlers tell a page fault from other traps by the number in the signal's context. qemu always gives -1 there.
// Wine's loader needs this library before the C library, so Wine calls the sigaction below. It puts a handler before
// each of Wine's.

typedef void (*Handler)(int signal, void* information, unsigned char* context);
struct SigAction {  // as glibc for i386 declares it
  Handler handler;
  unsigned mask[32];
  int flags;
  void (*restorer)(void);
};
typedef int (*SigActionFunction)(int, const struct SigAction*, struct SigAction*);
extern void* dlsym(void* handle, const char* name);

enum { kIll = 4, kTrap = 5, kBus = 7, kFpe = 8, kSegv = 11, kSigInfo = 4 };
enum { kTrapNumber = 68 };  // offset in ucontext_t: uc_mcontext.gregs[REG_TRAPNO]
static Handler handlers[64];

static void Correct(int signal, void* information, unsigned char* context) {
  int* number = (int*)(context + kTrapNumber);
  if (*number == -1) {
    switch (signal) {
      case kIll: *number = 6; break;
      case kTrap: *number = ((int*)information)[2] == 128 ? 3 : 1; break;  // SI_KERNEL: int3; otherwise single step
      case kFpe: *number = 16; break;
      default: *number = 14; break;
    }
  }
  handlers[signal](signal, information, context);
}

int sigaction(int signal, const struct SigAction* action, struct SigAction* old) {
  const SigActionFunction next = (SigActionFunction)dlsym((void*)-1, "sigaction");
  const int corrected = signal == kIll || signal == kTrap || signal == kBus || signal == kFpe || signal == kSegv;
  if (!corrected || action == 0 || (action->flags & kSigInfo) == 0) return next(signal, action, old);
  struct SigAction ours;
  ours.handler = Correct;
  for (int i = 0; i < 32; ++i) ours.mask[i] = action->mask[i];
  ours.flags = action->flags;
  ours.restorer = action->restorer;
  handlers[signal] = action->handler;
  return next(signal, &ours, old);
}
