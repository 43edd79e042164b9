# A toolchain file as users write it, without this project's settings.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR ${CONSUMER_ARCH})
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES CONSUMER_ARCH)
set(CMAKE_C_COMPILER ${CONSUMER_ARCH}-w64-mingw32-gcc-posix)
set(CMAKE_CXX_COMPILER ${CONSUMER_ARCH}-w64-mingw32-g++-posix)
set(CMAKE_RC_COMPILER ${CONSUMER_ARCH}-w64-mingw32-windres)
