#include "base/loaded_code.h"

#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static bool is_part_of(const struct dl_phdr_info *object, uintptr_t address)
{
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        uintptr_t start = object->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && address >= start && address - start < part->p_memsz) {
            return true;
        }
    }
    return false;
}

/* Parts that were never writable are the file's own bytes: dropping them loses nothing. */
static int release(struct dl_phdr_info *object, size_t size, void *inside)
{
    (void)size;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (inside != NULL && !is_part_of(object, (uintptr_t)inside)) {
        return 0;
    }
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        uintptr_t start = object->dlpi_addr + part->p_vaddr, first = (start + page - 1) / page * page;
        uintptr_t end = (start + part->p_filesz) / page * page;
        if (part->p_type == PT_LOAD && (part->p_flags & PF_W) == 0 && first < end) {
            (void)madvise((void *)first, end - first, MADV_DONTNEED);
        }
    }
    return 0;
}

void loaded_code_release(const void *inside)
{
    (void)dl_iterate_phdr(release, (void *)(uintptr_t)inside);
}
