-- Before one statement captures some of them and another shortens the others: all of them in one order.
SELECT id
FROM billing.credit_holds
WHERE id = ANY(ARRAY(SELECT json_array_elements_text(%(holds)s)::uuid)) AND state = 'held'
ORDER BY id
FOR NO KEY UPDATE
