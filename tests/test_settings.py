from pathlib import Path

import pytest

from ragsaver.errors import SettingsError
from ragsaver.settings_file import load_settings

# Each line holds the one above ten times.
LAUGHS = "a: &a [1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{above}'] * 10)}]\n" for above, name in zip("abcdefgh", "bcdefghi", strict=True)
)

# Each line lies in the one below.
CHAIN = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 2000))


def write(folder: Path, text: str) -> None:
    (folder / "ragsaver.yaml").write_text(text)


def test_variables_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path):
    write(tmp_path, "context:\n  budget_tokens: 300\nretrieval:\n  top_k: 7\n")
    settings = load_settings(tmp_path, {"RAGSAVER_CONTEXT__BUDGET_TOKENS": "200"})
    assert (settings.context.budget_tokens, settings.retrieval.top_k) == (200, 7)
    assert settings.home == (tmp_path / ".ragsaver").resolve()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("home: x\ncontxt: {}\n", r":2: unknown key `contxt`.*context"),
        ("context:\n  budget_tokens: many\n", r":2: `context.budget_tokens`.*'many'.*integer"),
        ("retrieval:\n  top_k: 5\n  lexical_weight: 3\n", r":3: `retrieval.lexical_weight`.*less than or equal to 1"),
        ("generation:\n  models:\n    - nme: x\n", r":3: .*models"),
        ("index:\n  bm25_b: 0.5\nindex:\n  bm25_k1: 1.5\n", r":3: `index` stands there twice.*one place"),
        ("home: &h [*h]\n", r":1: is not valid YAML: what an alias names holds that alias"),
        (LAUGHS, r":6: is not valid YAML: its aliases make more than 100000 keys"),
        (f"server: {'[' * 2000}", r":1: is not valid YAML: more than 64 levels lie in each other"),
        (CHAIN, r":1: is not valid YAML: more than 64 levels"),
        (
            "collection: x\nhome: ''\n",
            r":2: `home` has a value.*name a place: an empty one would be the working folder",
        ),
        ("pipelines_dir: ' '\n", r":1: `pipelines_dir` has a value.*name a place"),
        ("logging:\n  file: ''\n", r":2: `logging.file` has a value.*name a place"),
        ("a: [1\n", r"is not valid YAML"),
        ("- 1\n", r":1: must hold keys"),
        ("chunking:\n  min_words: 300\n", r"must be above"),
        ("generation:\n  models:\n    - name: x\n      api_key: ${NOT_SET}\n", r":4: .*\$NOT_SET, which is not set"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_key(tmp_path: Path, text: str, words: str):
    write(tmp_path, text)
    with pytest.raises(SettingsError, match=r"ragsaver\.yaml.*" + words):
        load_settings(tmp_path, {})


def test_a_wrong_variable_is_named(tmp_path: Path):
    with pytest.raises(SettingsError, match="RAGSAVER_SERVER__PORT.*server.port"):
        load_settings(tmp_path, {"RAGSAVER_SERVER__PORT": "http"})


def test_an_empty_variable_does_not_put_the_state_into_the_working_folder(tmp_path: Path):
    with pytest.raises(SettingsError, match="environment variable RAGSAVER_HOME.*`home`.*name a place"):
        load_settings(tmp_path, {"RAGSAVER_HOME": ""})


def test_a_variable_of_endless_depth_is_not_allowed(tmp_path: Path):
    with pytest.raises(SettingsError, match="environment variable RAGSAVER_GROUPS"):
        load_settings(tmp_path, {"RAGSAVER_GROUPS": "[" * 2000})


def test_a_key_never_shows(tmp_path: Path):
    write(tmp_path, "generation:\n  models:\n    - {name: x, api_key: '${KEY}'}\n")
    assert "s3cret" not in repr(load_settings(tmp_path, {"KEY": "s3cret"}))


def test_qdrant_s_own_variables_name_the_server_unless_ours_do(tmp_path: Path):
    given = {"QDRANT_URL": "http://qdrant:6333", "QDRANT_API_KEY": "k3y", "RAGSAVER_INDEX__ENGINE": "qdrant"}
    index = load_settings(tmp_path, given).index
    assert (index.url, index.api_key.get_secret_value(), index.shared) == ("http://qdrant:6333", "k3y", True)
    assert "k3y" not in repr(index)
    assert load_settings(tmp_path, {"QDRANT_URL": "qdrant:6333"}).index.url is None
    write(tmp_path, "index:\n  url: http://other:6333\n  grpc_port: null\n")
    index = load_settings(tmp_path, given).index
    assert (index.url, index.grpc_port) == ("http://other:6333", None)
    assert load_settings(tmp_path, {**given, "RAGSAVER_INDEX__GRPC_PORT": "null"}).index.grpc_port is None


def test_local_mode_s_folder_is_where_the_file_is(tmp_path: Path):
    write(tmp_path, "index:\n  engine: qdrant\n  url: file:qdrant\n")
    index = load_settings(tmp_path, {}).index
    assert (index.url, index.shared) == (f"file:{tmp_path.resolve() / 'qdrant'}", False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("index:\n  engine: qdrant\n", r"needs a server.*index\.url.*QDRANT_URL"),
        ("index:\n  url: qdrant:6333\n", r":2: `index\.url`.*must begin with http"),
        ("index:\n  collection: a/b\n", r":2: `index\.collection`"),
        ("index:\n  quantization: int4\n", r":2: `index\.quantization`.*int8"),
    ],
)
def test_a_server_that_can_not_be_one_is_refused(tmp_path: Path, text: str, words: str):
    write(tmp_path, text)
    with pytest.raises(SettingsError, match=words):
        load_settings(tmp_path, {})


GENERATOR = """generation:
  models:
    - name: x
      generator:
        type: house.Generator
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("        init_parameters: {api_key: '${KEY}'}\n", r":4: .*generator.*`init_parameters.api_key`.*env_vars"),
        (
            "        init_parameters: {headers: [{Authorization: s3cret}]}\n",
            r"`init_parameters.headers.0.Authorization`",
        ),
        ("        init_parameters: {generation_kwargs: {max_tokens: 9}}\n", r"`max_output_tokens` of the model"),
        (
            "        output_limit: longest\n        init_parameters: {generation_kwargs: {longest: 9}}\n",
            r"generation_kwargs.longest` limits",
        ),
        ("        init_parameters: {generation_kwargs: {n: 3}}\n", r"more answers than one"),
        ("      base_url: http://a\n", r"`base_url` is for the client of the OpenAI protocol"),
        ("      logprobs: true\n", r"`logprobs` is for the client"),
    ],
)
def test_a_generator_holds_no_secret_and_limits_nothing_that_its_model_limits(tmp_path: Path, text: str, words: str):
    write(tmp_path, GENERATOR + text)
    with pytest.raises(SettingsError, match=words) as caught:
        load_settings(tmp_path, {"KEY": "s3cret"})
    assert "s3cret" not in str(caught.value)


MODEL = "generation:\n  models:\n    - name: tiny\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MODEL + "      base_url: ${EMPTY}\n", r":3: .*`base_url` is no address"),
        (MODEL + "      base_url: localhost:11434/v1\n", r"begins with http"),
        (MODEL + "      base_url: 'http://'\n", r"`base_url` is no address"),
        (MODEL + "      api_key: ${BROKEN}\n", r":3: .*`api_key` holds characters"),
        (MODEL + "      context_tokens: 512\n", r":3: .*`max_output_tokens` \(512\).*no room in `context_tokens`"),
        (MODEL + "      timeout_s: .inf\n", r":4: .*timeout_s"),
        ("generation:\n  models:\n    - name: ''\n", r":3: .*models.0.name"),
        ("spend:\n  prices:\n    a: {input_per_mtok: 1e30, output_per_mtok: 1}\n", r":3: .*prices.a.input_per_mtok"),
        ("spend:\n  upper_price: {input_per_mtok: 0, output_per_mtok: 0}\n", r"`upper_price` is 0"),
        ("spend:\n  budgets: [{scope: principal, name: bob, period: day, limit_usd: 1}]\n", r"TENANT/PRINCIPAL"),
        (
            "spend:\n  budgets:\n" + 2 * "  - {scope: total, period: day, limit_usd: 1}\n",
            r"two limits of total per day",
        ),
        (
            "spend:\n  budgets:\n" + 2 * "  - {scope: tenant, name: acme, period: hour, limit_usd: 1}\n",
            r"two limits of tenant acme per hour",
        ),
    ],
)
def test_what_could_not_answer_or_not_hold_is_refused_before_it_costs_anything(tmp_path: Path, text: str, words: str):
    write(tmp_path, text)
    with pytest.raises(SettingsError, match=words) as caught:
        load_settings(tmp_path, {"EMPTY": "", "BROKEN": "s3cret\n"})
    assert "s3cret" not in str(caught.value)


def test_a_generator_s_type_is_a_class_in_a_module(tmp_path: Path):
    write(tmp_path, GENERATOR.replace("house.Generator", "import os"))
    with pytest.raises(SettingsError, match=r":5: `generation.models.0.generator.type`"):
        load_settings(tmp_path, {})


def test_a_generator_may_name_the_variables_of_its_secrets(tmp_path: Path):
    write(tmp_path, GENERATOR + "        init_parameters: {api_key: {type: env_var, env_vars: [KEY], strict: true}}\n")
    (model,) = load_settings(tmp_path, {}).generation.models
    assert model.generator.init_parameters["api_key"]["env_vars"] == ["KEY"]
