// Several contexts of execution, of which one runs at a time and names its successor. Where possible they are contexts
// of one thread (fibers on Windows); a switch then takes well below a microsecond. Sanitizers do not follow an
// exchanged stack: under them, and on other systems, the contexts are threads.
#ifndef CLRHM_TESTS_SUPPORT_SWITCHER_H
#define CLRHM_TESTS_SUPPORT_SWITCHER_H

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace clr_host_memory::test {

// Returns whether a switch is cheap enough to play hundreds of thousands of schedules.
[[nodiscard]] bool SwitchingIsCheap();

class Switcher {
 public:
  // Contexts 0 .. count-1 begin in run(context) when first entered. Context `count` is the caller's own.
  Switcher(std::size_t count, std::function<void(std::size_t)> run);
  // Must run in the caller's context. Abandons the other contexts where they wait, in Transfer. Where they are
  // threads, Transfer returns false in each.
  ~Switcher();
  Switcher(const Switcher&) = delete;
  Switcher& operator=(const Switcher&) = delete;

  // Continues context `to` from the running context `from`. Returns when a context transfers back. Returns false if
  // the Switcher is being destroyed; `run` must then return.
  [[nodiscard]] bool Transfer(std::size_t from, std::size_t to);

 private:
  struct Context;
  static void Enter(unsigned high, unsigned low);
#ifdef _WIN32
  static void __stdcall EnterFiber(void* context);
#endif

  std::function<void(std::size_t)> run_;
  std::vector<std::unique_ptr<Context>> contexts_;
  bool quit_ = false;
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_SWITCHER_H
