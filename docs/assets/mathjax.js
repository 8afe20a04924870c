// MathJax typesets what pymdownx.arithmatex marks. Tags are the pages' own, (T1.1), so none is numbered by itself.
window.MathJax = {
  tex: {inlineMath: [["\\(", "\\)"]], displayMath: [["\\[", "\\]"]], tags: "none"},
  options: {ignoreHtmlClass: ".*", processHtmlClass: "arithmatex", enableMenu: false},
};
