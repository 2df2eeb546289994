// What a debugger, `top -H` and a profile call the thread.
#ifndef CAIRN_BASE_THREAD_H_
#define CAIRN_BASE_THREAD_H_

#include <pthread.h>

namespace cairn::base {

// Names the calling thread; the kernel keeps the first 15 characters.
inline void NameThread(const char* name) { pthread_setname_np(pthread_self(), name); }

}  // namespace cairn::base

#endif  // CAIRN_BASE_THREAD_H_
