# Options shared by everything we compile.  -ffp-contract=off: a compiler that fuses a multiply and an add on its own would
# make two instruction sets disagree in the last bit (docs/numerics.md); kernels ask for FMA by name.
add_library(kl_options INTERFACE)
target_compile_features(kl_options INTERFACE cxx_std_20)
target_compile_options(kl_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wno-missing-field-initializers
                                            -ffp-contract=off -fno-math-errno -fstack-protector-strong)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  target_compile_options(kl_options INTERFACE -fpch-preprocess)  # lets ccache look through precompiled headers
endif()
if(KL_WARNINGS_AS_ERRORS)
  target_compile_options(kl_options INTERFACE -Werror)
endif()
if(KL_SANITIZE)
  target_compile_options(kl_options INTERFACE -fsanitize=${KL_SANITIZE} -fno-omit-frame-pointer
                                              -fno-sanitize-recover=all)
  target_link_options(kl_options INTERFACE -fsanitize=${KL_SANITIZE})
endif()
if(KL_FUZZ)
  target_compile_options(kl_options INTERFACE -fsanitize=fuzzer-no-link)  # the coverage feedback libFuzzer steers by
endif()
target_compile_definitions(kl_options INTERFACE $<$<CONFIG:Release>:_FORTIFY_SOURCE=2>)

# Tests and the program's front end: nothing in them is hot, and other people's headers are most of what there is to compile.
# At -O1, g++ 12 sees overflows in std::string's operator+ that cannot happen (GCC bug 105651); clang checks the same files.
add_library(kl_quick_options INTERFACE)
target_link_libraries(kl_quick_options INTERFACE kl_options)
target_compile_options(kl_quick_options INTERFACE $<$<CONFIG:Release>:-O1>)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  target_compile_options(kl_quick_options INTERFACE -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow
                                                    -Wno-stringop-overread)
endif()
