/* Shifts the wall clock of a program by as many seconds as a file says that is mapped into it: for LD_PRELOAD. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int read_clock(clockid_t, struct timespec *);

static read_clock *real;
static const volatile int64_t *shift;

__attribute__((constructor)) static void find(void)
{
	const char *path = getenv("CLOCK_SHIFT");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);

	real = (read_clock *)dlsym(RTLD_NEXT, "clock_gettime");
	if (mapped != MAP_FAILED)
		shift = mapped;
	if (file >= 0)
		close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result;

	if (!real)
		find();
	result = real(clock, now);
	if (result == 0 && clock == CLOCK_REALTIME && shift)
		now->tv_sec += *shift;
	return result;
}
