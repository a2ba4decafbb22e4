/* Code and constants of the program and its libraries, as far as they lie in memory. Starting touches much that running never needs again;
 * its pages belong to files and come back from the page cache when they are needed after all. Any thread. */
#ifndef AMBAR_BASE_LOADED_CODE_H
#define AMBAR_BASE_LOADED_CODE_H

/* Gives back the pages of the object that contains this address; NULL: of all objects. */
void loaded_code_release(const void *inside);

#endif
