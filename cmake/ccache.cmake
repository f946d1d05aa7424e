# Recompiling the same file is free where ccache is installed.
find_program(KL_CCACHE ccache)
if(KL_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${KL_CCACHE})
endif()
