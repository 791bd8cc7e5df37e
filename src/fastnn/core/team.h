/* A team of threads that do one job together, and then sleep.

   fastnn_team_run(count, task, argument)  calls task(argument, index, count) on `count` threads at
                                           once, the caller being number 0, and returns when all are done
   fastnn_team_wait()                      within a task: returns when all of them have called it

   Threads are started when a job first needs them. A thread that waits spins for some
   microseconds and then sleeps: nothing runs between jobs. A caller that finds the team at
   work does its job alone, and so does one for whom no thread can be started; fewer threads
   than asked for share a job where no more can be started. So a task must go by the count that
   it is given. After a fork the child has a team of its own, without threads.

   `core/runtime.pyx` alone includes this file. One function is exported, for threadpoolctl. */

#ifndef FASTNN_TEAM_H
#define FASTNN_TEAM_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define FASTNN_PAUSE() __builtin_ia32_pause()
#else
#define FASTNN_PAUSE() __asm__ __volatile__("yield")
#endif

/* Spins before sleeping: some 60 microseconds, about what waking a thread takes on a virtual machine. */
#define FASTNN_SPINS 4000

typedef void (*fastnn_task)(void *argument, int index, int count);

typedef struct {
    pthread_mutex_t busy;       /* held by the caller whose job is being done */
    pthread_mutex_t lock;       /* for sleeping */
    pthread_cond_t changed;
    atomic_int sleepers;
    _Atomic uint64_t job;       /* number of the job << 16 | threads that do it: one word, read at once */
    atomic_uint barrier;        /* how often all workers of a job have met */
    atomic_int arrived;         /* workers that wait for the next meeting */
    atomic_int threads;         /* that exist, the caller included: `fastnn_team_size` may ask at any time */
    atomic_int spins;           /* before sleeping: FASTNN_SPINS, or 0 */
    fastnn_task task;
    void *argument;
} fastnn_team;

#define FASTNN_NEW_TEAM { \
    .busy = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, \
    .threads = 1 }
static fastnn_team fastnn_the_team = FASTNN_NEW_TEAM;

/* In a forked child, which has none of its parent's threads. */
static void fastnn_forked(void)
{
    static const fastnn_team newborn = FASTNN_NEW_TEAM;
    memcpy(&fastnn_the_team, &newborn, sizeof newborn);
}

/* Wakes everyone who sleeps until what the caller has just changed changes. Nobody is missed: a sleeper
   counts itself before its last look, and this looks for sleepers after the change. */
static void fastnn_wake_sleepers(void)
{
    fastnn_team *team = &fastnn_the_team;
    if (atomic_load(&team->sleepers)) {
        pthread_mutex_lock(&team->lock);
        pthread_cond_broadcast(&team->changed);
        pthread_mutex_unlock(&team->lock);
    }
}

/* Spins and then sleeps while the expression is true. */
#define FASTNN_WAIT_WHILE(unchanged) do { \
    int spins_ = atomic_load(&fastnn_the_team.spins); \
    while ((unchanged) && spins_-- > 0) \
        FASTNN_PAUSE(); \
    if (unchanged) { \
        pthread_mutex_lock(&fastnn_the_team.lock); \
        atomic_fetch_add(&fastnn_the_team.sleepers, 1); \
        while (unchanged) \
            pthread_cond_wait(&fastnn_the_team.changed, &fastnn_the_team.lock); \
        atomic_fetch_sub(&fastnn_the_team.sleepers, 1); \
        pthread_mutex_unlock(&fastnn_the_team.lock); \
    } \
} while (0)

static void fastnn_team_wait(void)
{
    fastnn_team *team = &fastnn_the_team;
    unsigned met = atomic_load(&team->barrier);
    int count = (int)(atomic_load(&team->job) & 0xffff);
    if (atomic_fetch_add(&team->arrived, 1) + 1 < count) {
        FASTNN_WAIT_WHILE(atomic_load(&team->barrier) == met);
    } else {
        atomic_store(&team->arrived, 0);
        atomic_store(&team->barrier, met + 1);
        fastnn_wake_sleepers();
    }
}

/* What a thread of the team does for ever: its part in every job that has one for it. */
static void *fastnn_member(void *number)
{
    fastnn_team *team = &fastnn_the_team;
    int index = (int)(intptr_t)number;
    uint64_t job = 0;
    for (;;) {
        FASTNN_WAIT_WHILE(atomic_load(&team->job) == job);
        job = atomic_load(&team->job);
        if (index < (int)(job & 0xffff)) {
            team->task(team->argument, index, (int)(job & 0xffff));
            fastnn_team_wait();
        }
    }
    return NULL;
}

/* Makes sure that `count` threads exist; returns how many do. */
static int fastnn_hire(int count)
{
    static int registered;
    fastnn_team *team = &fastnn_the_team;
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    if (team->threads >= count)
        return count;
    if (!registered)
        registered = pthread_atfork(NULL, NULL, fastnn_forked) == 0;
    if (!registered || pthread_attr_init(&attributes))
        return team->threads;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);           /* signals are for the threads that Python knows */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (team->threads < count
           && !pthread_create(&thread, &attributes, fastnn_member, (void *)(intptr_t)team->threads))
        team->threads++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return team->threads;
}

/* `crowded`: there are more threads than processors, so that spinning would keep others from working. */
static void fastnn_team_run(int count, int crowded, fastnn_task task, void *argument)
{
    fastnn_team *team = &fastnn_the_team;
    uint64_t job;
    if (count <= 1 || pthread_mutex_trylock(&team->busy)) {
        task(argument, 0, 1);
        return;
    }
    count = fastnn_hire(count);
    if (count == 1) {
        task(argument, 0, 1);
    } else {
        team->task = task;
        team->argument = argument;
        atomic_store(&team->spins, crowded ? 0 : FASTNN_SPINS);
        job = atomic_load(&team->job);
        atomic_store(&team->job, (((job >> 16) + 1) << 16) | (uint64_t)count);
        fastnn_wake_sleepers();
        task(argument, 0, count);
        fastnn_team_wait();
    }
    pthread_mutex_unlock(&team->busy);
}

/* Threads that exist, the caller included. Exported: threadpoolctl knows the library by it. */
__attribute__((visibility("default"))) int fastnn_team_size(void) { return fastnn_the_team.threads; }

#endif
