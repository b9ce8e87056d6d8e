"""Where a chapter's notebook opens: Colab, Binder, a JupyterHub.

All addresses come from ``repository: url`` in ``_config.yml``; without it there are none. The site is
published as an artifact, so the notebooks themselves are in a branch of the repository, ``notebooks``,
to which the workflow of ``.github`` pushes what ``make book`` wrote to ``_build/notebooks``. Binder
makes its environment from the requirements there, and the notebooks install the same wheel.
"""

import re
from pathlib import Path
from urllib.parse import quote, urlencode, urljoin, urlsplit

BRANCH = "notebooks"
WHEELS = "wheels"  # a folder of that branch

# Where `make serve` serves the site, while _config.yml names no address.
LOCAL_ADDRESS = "http://localhost:8000/"


def parts(repository):
    """The host, the owner and the name of a repository; ValueError if that is not what is given."""
    url = urlsplit(repository)
    match = re.fullmatch(r"/(.+)/([^/]+?)(?:\.git)?/?", url.path)
    if url.scheme not in {"http", "https"} or not match:
        raise ValueError(f"repository url {repository!r}: give https://host/owner/name")
    return url.hostname, match[1], match[2]


def launchers(repository, hub, notebook):
    """The places where a notebook can be opened, as (name, address).

    Parameters
    ----------
    repository : str
        The address of the repository, or nothing.
    hub : str
        The address of a JupyterHub with nbgitpuller, or nothing.
    notebook : str
        The notebook's path in the branch.
    """
    if not repository:
        return []
    host, owner, name = parts(repository)
    places, path = [], quote(notebook)
    binder = {"github.com": f"gh/{owner}/{name}", "gitlab.com": f"gl/{quote(f'{owner}/{name}', safe='')}"}
    if host == "github.com":
        colab = f"https://colab.research.google.com/github/{owner}/{name}/blob/{BRANCH}/{path}"
        places.append(("Colab", colab))
    if host in binder:
        place = urlencode({"urlpath": f"lab/tree/{notebook}"})
        places.append(("Binder", f"https://mybinder.org/v2/{binder[host]}/{BRANCH}?{place}"))
    if hub:
        pull = {
            "repo": f"https://{host}/{owner}/{name}",
            "branch": BRANCH,
            "urlpath": f"lab/tree/{name}/{notebook}",
        }
        places.append(("JupyterHub", f"{hub.rstrip('/')}/hub/user-redirect/git-pull?{urlencode(pull)}"))
    return places


def wheel_address(site, repository, wheel):
    """Where a notebook finds the wheel, and whether anybody else can reach that."""
    if site:
        return urljoin(site, f"_static/wheels/{wheel}"), True
    if repository:
        host, owner, name = parts(repository)
        raw = "-/raw" if host == "gitlab.com" else "raw"
        return f"https://{host}/{owner}/{name}/{raw}/{BRANCH}/{WHEELS}/{wheel}", True
    return urljoin(LOCAL_ADDRESS, f"_static/wheels/{wheel}"), False


def offer(app, pagename, templatename, context, doctree):
    """Hand a chapter's places to the template header-buttons.html."""
    if "kernelspec" not in app.env.metadata.get(pagename, {}):
        return
    repository = app.config.html_theme_options.get("repository_url", "")
    notebook = f"{pagename}.ipynb"
    if Path(app.outdir, notebook).is_file():
        context["launchers"] = launchers(repository, app.config.book_jupyterhub, notebook)


def setup(app):
    app.add_config_value("book_jupyterhub", "", "html")
    app.connect("html-page-context", offer)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
