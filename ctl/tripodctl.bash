# SPDX-License-Identifier: BSD-3-Clause
# Completion of tripodctl for bash.

_tripodctl()
{
	local commands="status nodes connections counters chain reload keys version drain undrain stop"
	local options="--socket --node --json --version --help"
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local word command=""

	COMPREPLY=()
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case " $commands " in
		*" $word "*) command=$word ;;
		esac
	done
	case $prev in
	--socket)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--node)
		local socket
		for socket in /run/tripod/tripodd-*.sock; do
			socket=${socket##*-}
			[[ ${socket%.sock} == "$cur"* && -n ${socket%.sock} && $socket != "*.sock" ]] &&
				COMPREPLY+=("${socket%.sock}")
		done
		return
		;;
	--where)
		compopt -o nospace
		mapfile -t COMPREPLY < <(compgen -W "proto= state= role= direction= src= dst= sport= dport=" -- "$cur")
		return
		;;
	--limit | --nf | --worker) return ;;
	esac
	case $command in
	"") options="$commands $options" ;;
	connections) options="$options --where --limit" ;;
	reload) options="$options --check" ;;
	keys) options="$options reload" ;;
	drain) options="$options --wait" ;;
	counters) options="$options --nf --worker --all --watch" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
}
complete -F _tripodctl tripodctl
