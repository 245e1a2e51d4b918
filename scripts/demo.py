"""The main job on RAGSaver's own documentation: ingest, ask, ingest again, edit, and see what each step cost."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
QUESTIONS = (
    "Which process owns the embedded index?",
    "What does a model cost that is on no price list?",
    "Where may lists and tables be cut?",
    "Who won the football world cup in 1998?",
)
# For illustration: no model is called, savings are priced against this one.
BASELINE_MODEL = "gpt-4o"


def main() -> int:
    """Run the demo; 1 if anything is not as promised."""
    with tempfile.TemporaryDirectory(prefix="ragsaver-demo-") as folder:
        project = Path(folder)
        shutil.copytree(DOCS, project / "docs")
        print("== Ingest RAGSaver's own documentation")
        first = _ragsaver(project, "ingest", "docs")
        print(f"   {first['documents']['added']} documents, {first['chunks']['embedded']} chunks embedded")
        print(f"\n== Ask (no model is called; savings are priced against {BASELINE_MODEL}, for illustration)")
        answers = [_show(project, question, hint=question == QUESTIONS[0]) for question in QUESTIONS]
        print("\n== Ingest again: nothing has changed")
        again = _ragsaver(project, "ingest", "docs")
        print(
            f"   {again['chunks']['embedded']} chunks embedded, {again['documents']['unchanged']} documents unchanged"
        )
        print("\n== Change one paragraph")
        page = project / "docs" / "explanation" / "one-owner.md"
        page.write_text(page.read_text().replace("A killed process", "A process that was killed"))
        edited = _ragsaver(project, "ingest", "docs")
        print(f"   {edited['chunks']['embedded']} of {edited['chunks']['total']} chunks embedded")
        promises = {
            "documents went in": first["documents"]["added"] > 0 and first["documents"]["failed"] == 0,
            "the first three questions were answered": all(answers[:3]),
            "the last got no guess": not answers[3],
            "nothing was embedded again": again["chunks"]["embedded"] == 0,
            "one or two chunks were embedded after the edit": edited["chunks"]["embedded"] in (1, 2),
        }
    broken = [promise for promise, kept in promises.items() if not kept]
    print(f"\nNot as promised: {', '.join(broken)}" if broken else "\nAll as promised.")
    return 1 if broken else 0


def _show(project: Path, question: str, hint: bool) -> bool:
    result = _ragsaver(project, "ask", question, hint=hint)
    receipt = result["receipt"]
    print(f"\n   Q: {question}\n   A: {' '.join((result['answer'] or 'no answer: ' + result['reason']).split())}")
    for citation in result["citations"]:
        print(f"      from {citation['source']} — {citation['heading']}")
    print(
        f"      {result['route']['tier']} tier, spent ${receipt['cost_usd']:.6f}, "
        f"baseline ${receipt['baseline_usd']:.6f}, saved ${receipt['saved_usd']:.6f}"
    )
    return result["answer"] is not None


def _ragsaver(project: Path, *arguments: str, hint: bool = True) -> dict:
    environment = {
        **os.environ,
        "RAGSAVER_HOME": str(project / ".ragsaver"),
        "RAGSAVER_SPEND__BASELINE_MODEL": BASELINE_MODEL,
    }
    done = subprocess.run(
        [sys.executable, "-m", "ragsaver", *arguments, "--json"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=None if hint else subprocess.DEVNULL,
        text=True,
    )
    if done.returncode:
        sys.exit(f"`ragsaver {' '.join(arguments)}` failed with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
