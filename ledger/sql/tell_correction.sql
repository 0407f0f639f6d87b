INSERT INTO billing.credit_events (type, billing_account_id, correction_id)
VALUES ('corrected', %(account)s, %(id)s)
