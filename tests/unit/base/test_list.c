#include "base/list.h"

#include "cmocka_all.h"

struct item {
    int number;
    struct list link;
};

static void items_keep_their_order(void **state)
{
    (void)state;
    struct list head;
    struct item items[3] = { { .number = 1 }, { .number = 2 }, { .number = 0 } };
    list_initialise(&head);
    assert_true(list_is_empty(&head));
    list_append(&head, &items[0].link);
    list_append(&head, &items[1].link);
    list_prepend(&head, &items[2].link);
    int expected = 0;
    LIST_FOR_EACH(link, &head) {
        assert_int_equal(LIST_ENTRY(link, struct item, link)->number, expected++);
    }
    assert_int_equal(expected, 3);
}

static void an_item_may_be_removed_while_iterating_and_twice(void **state)
{
    (void)state;
    struct list head;
    struct item items[4];
    list_initialise(&head);
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        list_append(&head, &items[i].link);
    }
    LIST_FOR_EACH(link, &head) {
        if (LIST_ENTRY(link, struct item, link)->number % 2 == 0) {
            list_remove(link);
            list_remove(link);
        }
    }
    assert_ptr_equal(list_take_first(&head), &items[1].link);
    assert_ptr_equal(list_take_first(&head), &items[3].link);
    assert_null(list_take_first(&head));
    assert_true(list_is_empty(&items[0].link));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_keep_their_order),
        cmocka_unit_test(an_item_may_be_removed_while_iterating_and_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
