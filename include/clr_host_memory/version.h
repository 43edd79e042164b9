// The version of these headers. ClrHostMemoryVersion (memory_manager_abi.h) returns that of the library in use.
// CMakeLists.txt reads the numbers from here. Semantic Versioning: before 1.0.0, a minor version may change the API.
// The ABI only grows.
#ifndef CLR_HOST_MEMORY_VERSION_H
#define CLR_HOST_MEMORY_VERSION_H

#define CLR_HOST_MEMORY_VERSION_MAJOR 0
#define CLR_HOST_MEMORY_VERSION_MINOR 1
#define CLR_HOST_MEMORY_VERSION_PATCH 0

// One number, which can be compared: 0.1.0 is 1000, 1.4.12 is 1004012.
#define CLR_HOST_MEMORY_VERSION \
  (CLR_HOST_MEMORY_VERSION_MAJOR * 1000000 + CLR_HOST_MEMORY_VERSION_MINOR * 1000 + CLR_HOST_MEMORY_VERSION_PATCH)

// "0.1.0"
#define CLR_HOST_MEMORY_VERSION_TEXT                                                                      \
  CLR_HOST_MEMORY_VERSION_AS_TEXT(CLR_HOST_MEMORY_VERSION_MAJOR)                                          \
  "." CLR_HOST_MEMORY_VERSION_AS_TEXT(CLR_HOST_MEMORY_VERSION_MINOR) "." CLR_HOST_MEMORY_VERSION_AS_TEXT( \
      CLR_HOST_MEMORY_VERSION_PATCH)
#define CLR_HOST_MEMORY_VERSION_AS_TEXT(number) CLR_HOST_MEMORY_VERSION_AS_TEXT_(number)
#define CLR_HOST_MEMORY_VERSION_AS_TEXT_(number) #number

#endif  // CLR_HOST_MEMORY_VERSION_H
