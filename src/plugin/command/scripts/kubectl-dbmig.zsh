#compdef kubectl-dbmig
# Completion of kubectl-dbmig in zsh. For `kubectl dbmig`, kubectl itself asks a program named kubectl_complete-dbmig
# on the PATH (kubectl 1.26 and newer): `kubectl dbmig completion install` puts it there.
_kubectl_dbmig() {
    local -a candidates
    local line
    for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -z $line || $line == :* ]] || candidates+=("${${line//:/\\:}/$'\t'/:}")
    done
    _describe 'kubectl dbmig' candidates
}
compdef _kubectl_dbmig kubectl-dbmig
