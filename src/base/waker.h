// An interface to wake a thread that sleeps until there is work.
#ifndef CLRHM_BASE_WAKER_H
#define CLRHM_BASE_WAKER_H

namespace clr_host_memory {

class Waker {
 public:
  // Wakes the sleeper. May be called from any thread, even one that is suspended right after. The wake-up is
  // remembered until the sleeper has checked for work. Takes no lock and never waits.
  virtual void Wake() noexcept = 0;

 protected:
  ~Waker() = default;
};

}  // namespace clr_host_memory

#endif  // CLRHM_BASE_WAKER_H
