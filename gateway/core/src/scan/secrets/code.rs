//! Where code, packages and artefacts live, and what builds them.

use super::{Rule, checked, checksums, token};

pub(super) const RULES: &[Rule] = &[
    checked(
        "github_token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        "gh[pousr]_[A-Za-z0-9]{36,}",
        checksums::github,
    ),
    token(
        "github_fine_grained_token",
        &["github_pat_"],
        "github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    ),
    token(
        "gitlab_token",
        &[
            "glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "glrtr-", "glcbt-", "glimt-", "glptt-",
            "glagent-", "gloas-", "glffct-", "glwt-",
        ],
        r"gl(?:pat|dt|ft|soat|rtr?|cbt|imt|ptt|agent|oas|ffct|wt)-[A-Za-z0-9_-]{20,}(?:\.[0-9a-z]{2}\.[0-9a-z]{7,9})?",
    ),
    token("gitlab_runner_registration", &["GR1348941"], "GR1348941[A-Za-z0-9_-]{20,50}"),
    token("bitbucket_app_password", &["ATBB"], "ATBB[A-Za-z0-9_=.-]{24,}"),
    checked("npm_token", &["npm_"], "npm_[A-Za-z0-9]{36}", checksums::github),
    token(
        "npm_legacy_token",
        &["_authToken="],
        "_authToken=\"?(?P<it>[A-Fa-f0-9]{8}(?:-[A-Fa-f0-9]{4}){3}-[A-Fa-f0-9]{12})",
    ),
    // The macaroon's own head, in base64: version 2, location pypi.org or test.pypi.org.
    token(
        "pypi_token",
        &["pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZw"],
        "pypi-Ag[A-Za-z0-9_-]{60,}",
    ),
    token("rubygems_token", &["rubygems_"], "rubygems_[a-f0-9]{48}"),
    token("crates_io_token", &["cio"], r"(?-u:\b)cio[A-Za-z0-9]{32}(?-u:\b)"),
    token("nuget_key", &["oy2"], r"(?-u:\b)oy2[a-z0-9]{43}(?-u:\b)"),
    token("clojars_token", &["CLOJARS_"], "CLOJARS_[a-z0-9]{60}"),
    token("docker_hub_token", &["dckr_pat_", "dckr_oat_"], "dckr_[po]at_[A-Za-z0-9_-]{27,40}"),
    token("artifactory_key", &["AKCp"], r"(?-u:\b)AKCp[A-Za-z0-9]{69}(?-u:\b)"),
    token("artifactory_reference_token", &["cmVmdGtu"], "cmVmdGtu[A-Za-z0-9]{56}"),
    token("circleci_token", &["CCIPAT_", "CCIPRJ_"], "CCIP(?:AT|RJ)_[A-Za-z0-9]{22}_[a-f0-9]{40}"),
    token("buildkite_token", &["bkua_"], "bkua_[a-z0-9]{40}"),
    token("sonar_token", &["sqp_", "squ_", "sqa_"], "sq[pua]_[a-f0-9]{40}"),
    token("sourcegraph_token", &["sgp_"], "sgp_(?:(?:[a-fA-F0-9]{16}|local)_)?[a-fA-F0-9]{40}"),
    token("postman_key", &["PMAK-"], "PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    token("figma_token", &["figd_"], "figd_[A-Za-z0-9_-]{40,}"),
    token("linear_key", &["lin_api_", "lin_oauth_"], "lin_(?:api|oauth)_[A-Za-z0-9]{40,64}"),
    token("notion_token", &["ntn_"], "ntn_[0-9]{11}[A-Za-z0-9]{35}"),
    token("notion_secret", &["secret_"], r"(?-u:\b)secret_[A-Za-z0-9]{43}(?-u:\b)"),
    token(
        "atlassian_token",
        &["ATATT3xFfGF0", "ATCTT3xFfGN0"],
        "AT[AC]TT3xFfG[FN]0[A-Za-z0-9_=-]{100,}",
    ),
    token("airtable_token", &["pat"], r"(?-u:\b)pat[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    token("contentful_token", &["CFPAT-"], "CFPAT-[A-Za-z0-9_-]{43}"),
    token("readme_key", &["rdme_"], "rdme_[a-z0-9]{70}"),
    token("typeform_token", &["tfp_"], r"(?-u:\b)tfp_[A-Za-z0-9_.=-]{59}"),
    token("prefect_key", &["pnu_", "pnb_"], "pn[ub]_[A-Za-z0-9]{36}"),
];
