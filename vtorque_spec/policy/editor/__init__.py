"""The job language as an editor at one site sees it: the published schema with the site's words and limits."""
