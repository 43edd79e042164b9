# The options with which every target of this project is compiled on its platform. They are in an INTERFACE target, so
# that third-party code is compiled without them.
add_library(clrhm_platform INTERFACE)
target_compile_features(clrhm_platform INTERFACE cxx_std_20)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
target_link_libraries(clrhm_platform INTERFACE Threads::Threads)
if(WIN32)
  # Windows 10: the oldest version that the modern runtimes themselves support.
  target_compile_definitions(
    clrhm_platform INTERFACE WIN32_LEAN_AND_MEAN NOMINMAX UNICODE _UNICODE _WIN32_WINNT=0x0A00
                             WINVER=0x0A00)
endif()
if(WIN32 AND CMAKE_SIZEOF_VOID_P EQUAL 4)
  # A 32-bit program then has up to 4 GiB of address space instead of 2. Runtimes need it for their heaps.
  if(MSVC)
    target_link_options(clrhm_platform INTERFACE /LARGEADDRESSAWARE)
  else()
    target_link_options(clrhm_platform INTERFACE -Wl,--large-address-aware)
  endif()
endif()
if(MSVC)
  # The UCRT calls standard functions such as std::getenv insecure.
  target_compile_definitions(clrhm_platform INTERFACE _CRT_SECURE_NO_WARNINGS)
  target_compile_options(
    clrhm_platform INTERFACE /permissive- /Zc:__cplusplus /Zc:preprocessor /utf-8
                             $<$<COMPILE_LANGUAGE:CXX>:/EHsc>)
endif()
