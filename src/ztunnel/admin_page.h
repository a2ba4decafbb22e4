/* GET /: the page that a person opens when something is wrong. What is wrong comes first, then what lives, then what is known, and
 * the links of the reference. One document without assets from elsewhere, streamed; a script of a few lines sorts and filters, and
 * everything is there without it. Names from the mesh are escaped (html.h), and a Content-Security-Policy with a nonce lets no other
 * script run. Control thread. */
#ifndef AMBAR_ZTUNNEL_ADMIN_PAGE_H
#define AMBAR_ZTUNNEL_ADMIN_PAGE_H

#include "ztunnel/config_dump.h"

void admin_page_answer(struct http1_exchange *exchange, const struct config_dump_source *source);

#endif
