//! Models and what is built around them.

use super::{Rule, token};

pub(super) const RULES: &[Rule] = &[
    token(
        "openai_key",
        &["sk-proj-", "sk-svcacct-", "sk-admin-"],
        "sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,}",
    ),
    // Every one carries `OpenAI` in base64 in its middle.
    token(
        "openai_legacy_key",
        &["sk-"],
        "sk-(?:[a-z0-9-]{1,40}-)?[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}",
    ),
    token(
        "anthropic_key",
        &["sk-ant-"],
        "sk-ant-(?:api|admin|oat|ort|sid)[0-9]{2}-[A-Za-z0-9_-]{80,}",
    ),
    token("openrouter_key", &["sk-or-v1-"], "sk-or-v1-[a-f0-9]{64}"),
    // DeepSeek and many who speak OpenAI's protocol.
    token("sk_key", &["sk-"], r"(?-u:\b)sk-(?:[a-f0-9]{32}|[A-Za-z0-9]{40,64})(?-u:\b)"),
    token(
        "huggingface_token",
        &["hf_", "api_org_"],
        r"(?-u:\b)(?:hf_|api_org_)[A-Za-z]{34}(?-u:\b)",
    ),
    token("replicate_token", &["r8_"], r"(?-u:\b)r8_[A-Za-z0-9]{37}(?-u:\b)"),
    token("groq_key", &["gsk_"], "gsk_[A-Za-z0-9]{52}"),
    token("xai_key", &["xai-"], r"(?-u:\b)xai-[A-Za-z0-9]{80}"),
    token("perplexity_key", &["pplx-"], "pplx-[A-Za-z0-9]{48}"),
    token("nvidia_key", &["nvapi-"], "nvapi-[A-Za-z0-9_-]{60,70}"),
    token("cerebras_key", &["csk-"], r"(?-u:\b)csk-[a-z0-9]{48}(?-u:\b)"),
    token("elevenlabs_key", &["sk_"], r"(?-u:\b)sk_[a-f0-9]{48}(?-u:\b)"),
    token("langsmith_key", &["lsv2_"], "lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}"),
    token("pinecone_key", &["pcsk_"], "pcsk_[A-Za-z0-9]{5,6}_[A-Za-z0-9]{63}"),
    token("tavily_key", &["tvly-"], "tvly-(?:(?:dev|prod)-)?[A-Za-z0-9]{32}"),
    token("firecrawl_key", &["fc-"], r"(?-u:\b)fc-[a-f0-9]{32}(?-u:\b)"),
];
