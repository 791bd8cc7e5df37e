/* What `core/runtime.pyx` asks of team.h, for ThreadSanitizer: callers who come together, jobs in two halves. With
   -DFORGETS_TO_WAIT a job does not wait between them. */

#include <stdio.h>
#include <stdlib.h>

#include "team.h"

enum { CALLERS = 4, JOBS = 300, PARTS = 64 };

typedef struct {
    long first[PARTS], second[PARTS];
} job;

/* Each half is shared; the second half reads what others wrote in the first. */
static void work(void *argument, int index, int count)
{
    job *j = argument;
    const int start = PARTS * index / count, stop = PARTS * (index + 1) / count;
    for (int i = start; i < stop; i++)
        j->first[i] = i;
#ifndef FORGETS_TO_WAIT
    if (count > 1)
        fastnn_team_wait();
#endif
    for (int i = start; i < stop; i++)
        j->second[i] = j->first[PARTS - 1 - i] + 1;
}

static void *caller(void *number)
{
    for (int n = 0; n < JOBS; n++) {
        job j = {0};
        fastnn_team_run(2 + (n + (int)(intptr_t)number) % 3, n % 2, work, &j);
        for (int i = 0; i < PARTS; i++)
            if (j.second[i] != PARTS - i) {
                fprintf(stderr, "part %d of job %d is %ld\n", i, n, j.second[i]);
                exit(1);
            }
        if (fastnn_team_size() < 1)
            exit(1);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        pthread_create(&threads[i], NULL, caller, (void *)(intptr_t)i);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
    printf("%d jobs, %d threads\n", CALLERS * JOBS, fastnn_team_size());
    return 0;
}
