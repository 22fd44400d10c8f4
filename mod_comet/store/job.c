/* SPDX-License-Identifier: Apache-2.0 */
/* A job of a writer: groups of messages in one block of memory. */
#include "store/job.h"

#include <stdlib.h>
#include <string.h>

static apr_size_t texts_of(const comet_store_group_t *group)
{
    return group->key.text.length + group->key.channel.length
           + group->key.author.length + group->removal.channel.length
           + group->removal.member.length + group->rule.pattern.length;
}

static job_t *allocate_job(comet_store_group_t *const *groups, apr_size_t count)
{
    apr_size_t size = sizeof(job_t) + count * sizeof(comet_store_group_t), i;

    for (i = 0; i < count; i++) {
        size +=
            groups[i]->count * sizeof(comet_message_t *) + texts_of(groups[i]);
    }
    return malloc(size);
}

/* The total length of the bodies of a job's messages. */
static apr_size_t bytes_of(const job_t *job)
{
    apr_size_t bytes = 0, i, k;

    for (i = 0; i < job->count; i++) {
        for (k = 0; k < job->groups[i].count; k++) {
            bytes += job->groups[i].messages[k]->body.length;
        }
    }
    return bytes;
}

job_t *comet_job_create(comet_store_group_t *const *groups, apr_size_t count)
{
    job_t *job = allocate_job(groups, count);
    comet_message_t **list;
    char *end;
    apr_size_t i, k;

    if (!job) {
        return NULL;
    }
    memset(job, 0, sizeof(*job));
    sem_init(&job->answered, 0, 0);
    job->count = count;
    list = (comet_message_t **)(job->groups + count);
    for (i = 0; i < count; i++) {
        job->groups[i] = *groups[i];
        job->groups[i].messages = list;
        for (k = 0; k < groups[i]->count; k++) {
            *list++ = comet_message_ref(groups[i]->messages[k]);
        }
    }
    job->bytes = bytes_of(job);
    end = (char *)list;
    for (i = 0; i < count; i++) {
        job->groups[i].key.text =
            comet_text_copy(job->groups[i].key.text, &end);
        job->groups[i].key.channel =
            comet_text_copy(job->groups[i].key.channel, &end);
        job->groups[i].key.author =
            comet_text_copy(job->groups[i].key.author, &end);
        job->groups[i].removal.channel =
            comet_text_copy(job->groups[i].removal.channel, &end);
        job->groups[i].removal.member =
            comet_text_copy(job->groups[i].removal.member, &end);
        job->groups[i].rule.pattern =
            comet_text_copy(job->groups[i].rule.pattern, &end);
    }
    return job;
}

void comet_job_free(job_t *job)
{
    apr_size_t i, k;

    for (i = 0; i < job->count; i++) {
        for (k = 0; k < job->groups[i].count; k++) {
            comet_message_unref(job->groups[i].messages[k]);
        }
    }
    sem_destroy(&job->answered);
    free(job);
}
