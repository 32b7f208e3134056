"""Settings for every test and for the kernels that tests start: one thread, no progress bars."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("COURSE_LIB_STATIC", "1")
