COPY billing.llm_charge_details (
    charge_receipt_id, provider_call_id, model, provider_model, provider, call_type, stream,
    tokens_in, tokens_out, tokens_cached_in, tokens_reasoning, latency_ms, ttft_ms, graph_id,
    sub_agent_id, parent_sub_agent_id, tool_call_id, tags, saved_cache_cost
) FROM STDIN (FORMAT binary)
